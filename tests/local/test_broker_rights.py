"""A worker pool's login on a real RabbitMQ with a fleet's definitions can take its own tasks and do nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import amqp
import pytest

from airfleet.components.hosts import host_parts
from airfleet.components.rabbitmq import server as rabbitmq
from brokers import Broker, serve
from places import parse, place

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    definitions = rabbitmq.render_definitions(place(parse(), "data1"))
    with serve(definitions) as one:
        yield one


@contextlib.contextmanager
def channel(broker: Broker, user: str) -> Iterator[amqp.Channel]:
    connection = broker.connect(user, f"s3cret-{user}")
    try:
        yield connection.channel()
    finally:
        with contextlib.suppress(Exception):
            connection.close()


def send(channel: amqp.Channel, exchange: str, key: str) -> None:
    """Publish a message and wait for the broker's answer."""
    channel.confirm_select()
    channel.basic_publish(amqp.Message("task"), exchange=exchange, routing_key=key)
    channel.wait(amqp.spec.Basic.Ack)


def take(channel: amqp.Channel, queue: str) -> object:
    found = channel.basic_get(queue, no_ack=True)
    return found and found.body


def count(broker: Broker, queue: str) -> int:
    with channel(broker, "publisher") as asking:
        return int(asking.queue_declare(queue, passive=True).message_count)


def test_the_scheduler_sends_and_each_pool_takes_its_own(broker: Broker) -> None:
    for pool in ("default", "cpu", "memory", "io"):
        with channel(broker, "publisher") as out:
            send(out, "", pool)
        with channel(broker, f"pool-{pool}") as own:
            assert own.queue_declare(pool, passive=True).message_count == 1, "the health check asks so"
            assert take(own, pool) == "task"


ATTACKS: dict[str, Callable[[amqp.Channel], object]] = {
    "read another pool's tasks": lambda channel: channel.basic_get("memory"),
    "consume another pool's tasks": lambda channel: channel.basic_consume("memory"),
    "purge another pool's queue": lambda channel: channel.queue_purge("memory"),
    "delete another pool's queue": lambda channel: channel.queue_delete("memory"),
    "delete its own queue": lambda channel: channel.queue_delete("cpu"),
    "send to another pool": lambda channel: send(channel, "", "memory"),
    "send to its own pool": lambda channel: send(channel, "", "cpu"),
    "send through an exchange of the queue's name": lambda channel: send(channel, "memory", "memory"),
    "send through amq.direct": lambda channel: send(channel, "amq.direct", "memory"),
    "send through amq.fanout": lambda channel: send(channel, "amq.fanout", ""),
    "send through amq.topic": lambda channel: send(channel, "amq.topic", "memory"),
    "make an exchange": lambda channel: channel.exchange_declare("memory", "direct", passive=False),
    "make the exchange of remote control": lambda channel: channel.exchange_declare("celery.pidbox", "fanout"),
    "order all workers to stop": lambda channel: send(channel, "celery.pidbox", ""),
    "make a queue": lambda channel: channel.queue_declare("mine"),
    "make a queue without a name": lambda channel: channel.queue_declare("", exclusive=True),
    "bind another pool's queue": lambda channel: channel.queue_bind("memory", "amq.fanout"),
    "bind its own queue": lambda channel: channel.queue_bind("cpu", "amq.fanout"),
    "listen to what is published": lambda channel: channel.queue_bind("cpu", "amq.rabbitmq.trace", "#"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pool_s_login_is_refused_whatever_else_it_tries(broker: Broker, attack: str) -> None:
    with channel(broker, "publisher") as out:
        send(out, "", "memory")
    with channel(broker, "pool-cpu") as own, pytest.raises((amqp.AccessRefused, amqp.NotFound)):
        ATTACKS[attack](own)
    assert count(broker, "memory") == 1
    assert count(broker, "cpu") == 0
    with channel(broker, "pool-memory") as other:
        assert take(other, "memory") == "task"


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name.split()[0] not in ("send", "order")])
def test_the_publisher_only_publishes(broker: Broker, attack: str) -> None:
    with channel(broker, "publisher") as own, pytest.raises(amqp.AccessRefused):
        ATTACKS[attack](own)


def test_no_login_reaches_another_virtual_host(broker: Broker) -> None:
    with pytest.raises((amqp.NotAllowed, amqp.AccessRefused)):
        broker.connect("pool-cpu", "s3cret-pool-cpu", "/")


def test_what_an_earlier_version_left_goes_and_queued_tasks_stay(broker: Broker, tmp_path: Path) -> None:
    rights = dict.fromkeys(("configure", "write", "read"), ".*")
    former = {
        "users": [{"name": user, "password": f"s3cret-{user}", "tags": ""} for user in rabbitmq.FORMER_LOGINS],
        "permissions": [{"user": user, "vhost": "airfleet", **rights} for user in rabbitmq.FORMER_LOGINS],
    }
    (tmp_path / "former.json").write_text(json.dumps(former))
    broker.control("import_definitions", str(tmp_path / "former.json"))
    with channel(broker, "worker") as old:
        for exchange, kind in (("memory", "direct"), ("celery.pidbox", "fanout"), ("celery_delayed_0", "topic")):
            old.exchange_declare(exchange, kind, durable=True, auto_delete=False)
        old.queue_bind("memory", "memory", "memory")
        for queue in ("celery_delayed_0", "celery@cpu1.celery.pidbox"):
            old.queue_declare(queue, durable=True, auto_delete=False)
        send(old, "memory", "memory")
    where = place(parse(), "data1")
    jobs = {job.name: job for part in host_parts.describe(where, ssh_ports=(22,)) for job in part.jobs}
    for _ in range(2):
        broker.run(jobs["rabbitmq-former"].script.reveal())
    left = list_names(broker)
    assert left["exchanges"] == set()
    assert left["queues"] == {"default", "cpu", "memory", "io"}
    assert not {"worker", "scheduler"} & left["users"]
    with channel(broker, "pool-memory") as own:
        assert take(own, "memory") == "task"


def list_names(broker: Broker) -> dict[str, set[str]]:
    """Return what the broker holds beside RabbitMQ's own objects. Each call of its tool takes seconds."""
    there = json.loads(broker.control("export_definitions", "-"))
    return {
        kind: {one["name"] for one in there[kind] if not one["name"].startswith("amq.")}
        for kind in ("exchanges", "queues", "users")
    }
