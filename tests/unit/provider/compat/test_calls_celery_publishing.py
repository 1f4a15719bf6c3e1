"""The connections to the broker, as far as they need none; tests/local/test_publishing.py has a real one."""

from __future__ import annotations

import socket

import pytest
from amqp.transport import TCPTransport
from celery import Celery

from airfleet_provider.compat.calls import celery_publishing
from airfleet_provider.executors import consumer as consuming
from airfleet_provider.executors.celery_config import BrokerCredentials, make_config
from airfleet_provider.executors.message_signing import Verifier
from airfleet_provider.network import keepalive
from deadline import PATIENCE_S


def test_a_broker_without_power_is_given_up_as_any_other_peer() -> None:
    """py-amqp's own values ask a silent broker after 60 s, and give up a slow one after 1 s."""
    app = Celery(broker="amqp://guest@127.0.0.1//")
    app.conf.broker_transport_options = {"confirm_publish": True}
    celery_publishing.notice_dead_brokers(app)
    for connection in (app.connection_for_read(), app.connection_for_write()):
        options = connection.transport_options
        assert options["confirm_publish"] is True, "what airflow.cfg says stays"
        with socket.create_server(("127.0.0.1", 0)) as server:
            way = TCPTransport(
                f"127.0.0.1:{server.getsockname()[1]}",
                connect_timeout=PATIENCE_S,
                socket_settings=options["socket_settings"],
            )
            way.connect()
            for level, option, value in keepalive.OPTIONS:
                assert way.sock.getsockopt(level, option) == value
            way.close()


def test_a_worker_that_comes_back_does_nothing_that_no_task_needs_before_it_takes_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consuming, "make_verifier", lambda: Verifier({}, frozenset()))
    app = Celery(broker="amqp://guest@127.0.0.1//")
    app.conf.task_default_queue_type = "quorum"  # which is what brings the queues for delays
    found = {}
    for consumer in ("celery.worker.consumer:Consumer", make_config({}, BrokerCredentials())["worker_consumer"]):
        app.conf.worker_consumer = consumer
        worker = app.WorkController(pool_cls="solo")
        (step,) = [step for step in worker.steps if type(step).__name__ == "Consumer"]
        made = step.create(worker)
        found[consumer] = {type(one).__name__ for one in made.steps}
    stock, ours = found.values()
    assert {"Mingle", "Gossip", "Tasks", "Heart", "Control"} <= stock
    assert {"Connection", "Tasks"} <= ours
    assert not {"Mingle", "Gossip", "Heart", "Events", "Control", "DelayedDelivery"} & ours


def test_after_a_failure_every_pooled_connection_is_new_and_begins_with_the_next_broker() -> None:
    app = Celery(broker="amqp://guest@first//;amqp://guest@second//")
    celery_publishing.close_abruptly(app)
    lent = [app.producer_pool.acquire(block=True) for _ in range(app.pool.limit)]  # as if none had been given back
    assert lent[0].connection.hostname == "first"
    celery_publishing.discard_connections(app)
    with app.producer_or_acquire() as producer:
        assert isinstance(producer, celery_publishing.AbruptProducer)
        assert producer.connection.hostname == "second"
        assert producer.connection not in [one.connection for one in lent]
