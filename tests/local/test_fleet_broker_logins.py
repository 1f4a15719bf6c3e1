"""The broker's logins of a fleet on a real RabbitMQ, through every step of a rotation, with a task under way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import amqp
import pytest

from airfleet.components.host_model import Place
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.spec.secrets import Rotating, Secret, find_login
from airfleet.workspace.state_folder import write_file
from brokers import Broker, serve
from deadline import PATIENCE_S, wait_until
from places import CREDENTIALS, parse, place
from rotations import walk

pytestmark = pytest.mark.local
PUBLISHER, WORKER = Rotating("of-the-scheduler"), Rotating("of-a-worker")


class Exchange:
    """A broker node. The scheduler and the workers of the default pool get its logins step by step, as on a host."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker, self.definitions = broker, folder / "definitions.json"

    def converge(self, publisher: Rotating, worker: Rotating) -> None:
        where = place_data(publisher, worker)
        write_file(self.definitions, rabbitmq.render_definitions(where))
        self.broker.control("import_definitions", str(self.definitions))
        [job] = [job for job in rabbitmq.describe(where).jobs if job.name == "rabbitmq-logins"]
        self.broker.run(job.script.reveal())

    def connect(self, name: str, password: Secret) -> amqp.Connection:
        return self.broker.connect(find_login(name, password), password.reveal())


def place_data(publisher: Rotating, worker: Rotating) -> Place:
    consumers = {**CREDENTIALS.consumers, "default": worker}
    return replace(place(parse(), "data1"), credentials=replace(CREDENTIALS, publisher=publisher, consumers=consumers))


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    with serve(rabbitmq.render_definitions(place_data(PUBLISHER, WORKER))) as broker:
        yield Exchange(broker, tmp_path)


def test_a_task_under_way_is_confirmed_by_the_login_it_was_taken_with(exchange: Exchange) -> None:
    with exchange.connect("publisher", PUBLISHER) as scheduler:
        scheduler.channel().basic_publish(amqp.Message("task"), routing_key="default")
    worker = exchange.connect("pool-default", WORKER)
    channel = worker.channel()
    taken = wait_until(lambda: channel.basic_get("default"), "the task")
    publishers, workers = (
        [former, *walk(former.reveal(), f"{former.reveal()}-after")] for former in (PUBLISHER, WORKER)
    )
    for was, now in itertools.pairwise(zip(publishers[:-1], workers[:-1], strict=True)):
        exchange.converge(*now)
        for publisher, pool in (was, now):
            exchange.connect("publisher", publisher).close()
            exchange.connect("pool-default", pool).close()
        channel.queue_declare("default", passive=True)  # the connection lives
    channel.basic_ack(taken.delivery_tag)
    exchange.converge(publishers[-1], workers[-1])
    with pytest.raises((ConnectionError, amqp.AMQPError)):
        for _ in range(2):
            worker.drain_events(timeout=PATIENCE_S)
    for name, former in (("publisher", PUBLISHER), ("pool-default", WORKER)):
        with pytest.raises(amqp.AccessRefused):
            exchange.connect(name, former)
    with exchange.connect("pool-default", workers[-1]) as other:
        left = other.channel().queue_declare("default", passive=True)
        assert left.message_count == 0, "the task was confirmed, and is sent to nobody again"
