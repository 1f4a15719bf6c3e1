"""Tasks reach a real RabbitMQ over a link that hangs: one that failed is sent later, and nothing is stuck for ever.

The scheduler's part runs in a process of its own, as Celery's settings are read once for each.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kombu.connection import Connection

from airfleet.components import celery, signing, timeouts
from airfleet.components.host_model import Encryption, TlsProgress
from airfleet.components.model import BrokerNode
from airfleet.components.rabbitmq import private_node
from airfleet.components.rabbitmq.private_node import QUEUE_TYPE, list_logins
from airfleet.components.settings import list_celery_settings
from airfleet.spec.secrets import Secret
from airfleet.workspace import certificate_authority
from airfleet_provider.contract.environment import CELERY
from airfleet_provider.executors.message_signing import Verifier
from brokers import Broker, serve
from deadline import PATIENCE_S
from links import Link, link
from places import CREDENTIALS, parse, place

pytestmark = pytest.mark.local
SIGNING = Secret("only-for-tests")
QUEUES = ("default",)
NOW = datetime.now(UTC)
SENDER = Path(__file__).parents[1] / "support" / "task_sender.py"


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A broker with a port in clear, and one with TLS and the certificate of a host."""
    authority = certificate_authority.load(certificate_authority.create("flights", NOW), where="here")
    own = certificate_authority.issue(authority, "data1", [], NOW)
    encryption = Encryption(authority.pem, {"data1": own}, broker=TlsProgress(is_required=False))
    host = replace(place(parse(), "data1"), credentials=replace(CREDENTIALS, encryption=encryption))
    with serve(queues=QUEUES, like=host) as broker:
        yield broker


@pytest.fixture
def node(broker: Broker) -> BrokerNode:
    return broker.node


@pytest.fixture
def way(node: BrokerNode) -> Iterator[Link]:
    with link(node.ports.amqp) as way:
        yield way


@pytest.fixture
def secure_way(broker: Broker) -> Iterator[Link]:
    with link(broker.tls_port) as way:
        yield way


class Sender:
    """A scheduler's executor in its own process. It sends tasks with a platform's settings and reports each result."""

    def __init__(self, home: Path, urls: list[str], authorities: Path | None = None, **settings: str) -> None:
        link = home / "celery.json"
        unused = Secret("postgresql+psycopg2://nobody@127.0.0.1:1/none")
        text = celery.render_scheduler(Secret(";".join(urls)), unused, QUEUES, QUEUE_TYPE, SIGNING, authorities)
        link.write_text(text.reveal())
        environment = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": json.dumps(timeouts.CELERY),
            CELERY: str(link),
        }
        for setting in (*list_celery_settings(), *timeouts.list_broker_settings()):
            environment[f"AIRFLOW__{setting.section}__{setting.key}".upper()] = setting.value
        self.process = subprocess.Popen(
            [sys.executable, str(SENDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment | settings,
        )

    def send(self, task: str) -> str:
        """Try once to send a task; return `sent`, or the reason why it was not sent."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()
        while not (line := self.process.stdout.readline()).startswith(f"{task} "):
            assert line, "the sender has ended"
        return line.split()[-1]

    def send_until(self, task: str) -> int:
        """Try to send a task until it is sent; return the number of tries. Each may run into a time-out."""
        for tries in range(1, 31):
            if self.send(task) == "sent":
                return tries
        raise AssertionError(f"{task} was not sent in 30 tries")

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)


@pytest.fixture
def senders(tmp_path: Path) -> Iterator[list[Sender]]:
    made: list[Sender] = []
    yield made
    for one in made:
        one.close()


def url(node: BrokerNode, port: int | None = None) -> str:
    """Return the scheduler's URL of the broker, which leads straight to it or through another port."""
    login, _ = list_logins(node, QUEUES)
    return private_node.url(node, login).reveal().replace(f":{node.ports.amqp}/", f":{port or node.ports.amqp}/")


def read_queue(node: BrokerNode) -> list[str]:
    """Take every task from the queue, as a worker does, and return the ids in the order of arrival."""

    from airfleet_provider.executors.consumer import check  # noqa: PLC0415

    verifier = Verifier.read(signing.list_public(SIGNING), QUEUES)
    _, worker = list_logins(node, QUEUES)
    found = []
    with Connection(private_node.url(node, worker).reveal()) as connection:
        channel = connection.default_channel
        while message := channel.basic_get(QUEUES[0], no_ack=True):
            check(verifier, message)
            found.append(message.headers["id"])
    return found


def test_a_scheduler_whose_new_connection_takes_a_while_sends_its_first_task(
    node: BrokerNode, way: Link, senders: list[Sender], tmp_path: Path
) -> None:
    """A standby on a busy machine never sent its first task once, because each try opened a new connection."""
    way.delay_s = 0.3
    senders.append(sender := Sender(tmp_path, [url(node, way.port)]))
    assert sender.send("first") == "sent"
    assert read_queue(node) == ["first"]


def test_a_broker_that_takes_connections_and_says_nothing_is_passed_over(
    node: BrokerNode, senders: list[Sender], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        senders.append(sender := Sender(tmp_path, [url(node, silent.getsockname()[1]), url(node)]))
        assert sender.send("first") == "sent"
    assert read_queue(node) == ["first"]


def test_after_an_interrupted_publish_tasks_are_sent_again_and_none_is_lost(
    node: BrokerNode, way: Link, senders: list[Sender], tmp_path: Path
) -> None:
    """The alarm fires before the other time-outs, which are longer here. The connection's state is unknown then."""
    settings: dict[str, Any] = {"AIRFLOW__CELERY__OPERATION_TIMEOUT": "1"}
    senders.append(sender := Sender(tmp_path, [url(node, way.port)], **settings))
    # A busy machine may need more than a second for a connection, so any of these may need several tries.
    tries = {"first": sender.send_until("first")}
    for after, where in ((0, "before an answer"), (3, "within a frame's head"), (9, "within a frame")):
        way.hold(after)
        assert sender.send(where) == "AirflowTaskTimeout", where
        way.free()
        tries[where] = 1 + sender.send_until(where)
        later = f"after it was held {where}"
        tries[later] = sender.send_until(later)
    arrived = read_queue(node)
    assert set(arrived) == tries.keys()
    assert all(arrived.count(name) <= count for name, count in tries.items()), "what was tried once is there once"


def test_a_broker_that_hangs_holds_up_the_scheduler_for_seconds_only(
    node: BrokerNode, way: Link, senders: list[Sender], tmp_path: Path
) -> None:
    senders.append(sender := Sender(tmp_path, [url(node, way.port), url(node)]))
    assert sender.send("first") == "sent"
    way.hold()
    # In this one call it leaves the broker that hangs, and sends the task by way of the other.
    assert sender.send("second") == "sent"
    way.free()
    assert set(read_queue(node)) == {"first", "second"}


def test_a_broker_that_hangs_holds_up_the_scheduler_no_longer_with_tls(
    broker: Broker, secure_way: Link, senders: list[Sender], tmp_path: Path
) -> None:
    """py-amqp waits for the broker's answer when it ends TLS; a broker that hangs gives none."""
    urls = [url(broker.node, port).replace("amqp:", "amqps:") for port in (secure_way.port, broker.tls_port)]
    senders.append(sender := Sender(tmp_path, urls, broker.authorities))
    assert sender.send("first") == "sent"
    secure_way.hold()
    assert sender.send("second") == "sent"
    secure_way.free()
    assert set(read_queue(broker.node)) == {"first", "second"}
