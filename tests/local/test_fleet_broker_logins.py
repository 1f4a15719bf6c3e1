"""The broker's logins of a fleet on a real RabbitMQ, through every step of a rotation, with a task under way."""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import amqp
import pytest

from airfleet.components import rabbitmq as local
from airfleet.components.base import reveal
from airfleet.components.hosts import rabbitmq
from airfleet.components.hosts.base import Place
from airfleet.errors import AirfleetError
from airfleet.runners.local import ports
from airfleet.runners.local.rabbitmq import find_programs
from airfleet.runners.local.state import write_file
from airfleet.runners.rotation import Entry, Step, advance, notice, present
from airfleet.spec.secrets import Rotating, Secret, find_login
from deadline import wait_until
from places import CREDENTIALS, parse, place

pytestmark = pytest.mark.local


@dataclass
class Broker:
    """A node that is told of logins as on a host."""

    node: local.Node
    env: dict[str, str]

    def converge(self, worker: Rotating) -> None:
        where: Place = replace(place(parse(), "data1"), credentials=replace(CREDENTIALS, broker_worker=worker))
        file = self.node.folder / "definitions.json"
        write_file(file, rabbitmq.render_definitions(where))
        tool = self.node.server.with_name("rabbitmqctl")
        own = ("-n", self.env["RABBITMQ_NODENAME"])
        subprocess.run([tool, *own, "-q", "import_definitions", file], env=self.env, check=True, capture_output=True)
        job = rabbitmq.end_logins(where, {**self.env, "RABBITMQ_USE_LONGNAME": "false"})
        script = "set -eu\n" + job.script.reveal().replace(rabbitmq.RABBITMQCTL, str(tool))
        subprocess.run(["bash", "-s"], input=script, text=True, env=self.env, check=True, capture_output=True)

    def connect(self, worker: Secret) -> amqp.Connection:
        connection = amqp.Connection(
            host=f"127.0.0.1:{self.node.ports.amqp}",
            userid=find_login("worker", worker),
            password=worker.reveal(),
            virtual_host=rabbitmq.VHOST,
            login_timeout=20,
        )
        connection.connect()
        return connection


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    try:
        programs = find_programs()
    except AirfleetError as error:
        pytest.skip(str(error))
    node = local.Node(
        name=f"logins-{secrets.token_hex(4)}",
        folder=tmp_path,
        server=programs.server,
        names_server=programs.names_server,
        ports=local.Ports(amqp=ports.find_free(), names=ports.find_free(), nodes=ports.find_free()),
        password=Secret("unused"),
        cookie=Secret(secrets.token_hex(20)),
    )
    component = local.describe(node)
    for file in component.files:
        write_file(file.path, reveal(file.content), mode=file.mode)
    write_file(tmp_path / "definitions.json", rabbitmq.render_definitions(place(parse(), "data1")))
    with ExitStack() as stack, (tmp_path / "output").open("w") as output:
        for process in component.processes:
            env = {**os.environ, **{key: reveal(value) for key, value in process.env.items()}}
            words = [reveal(word) for word in process.commands[0]]
            running = stack.enter_context(subprocess.Popen(words, env=env, stdout=output, stderr=output, cwd="/"))
            stack.callback(running.terminate)
        made = Broker(node, env)
        wait_until(lambda: _answers(made), "the broker", timeout_s=300, every_s=0.5)
        yield made


def _answers(broker: Broker) -> bool:
    try:
        broker.connect(CREDENTIALS.broker_worker).close()
    except (OSError, amqp.AMQPError):
        return False
    return True


def walk(*values: str) -> Iterator[Rotating]:
    entry: Entry | None = None
    for value in values:
        entry = notice(entry, Secret(value))
    assert entry is not None
    yield present(entry)
    while entry.step is not Step.SETTLED:
        entry = advance(entry, 0.0)
        yield present(entry)


def test_a_task_under_way_is_confirmed_by_the_login_it_was_taken_with(broker: Broker) -> None:
    former = Rotating("before")
    broker.converge(former)
    worker = broker.connect(former)
    channel = worker.channel()
    channel.queue_declare("default", durable=True, auto_delete=False)
    channel.exchange_declare("default", "direct", durable=True, auto_delete=False)
    channel.queue_bind("default", "default", "default")
    channel.basic_publish(amqp.Message("task"), exchange="default", routing_key="default")
    taken = wait_until(lambda: channel.basic_get("default"), "the task", timeout_s=30)
    steps = [former, *walk("before", "after")]
    for was, now in itertools.pairwise(steps[:-1]):
        broker.converge(now)
        for value in (was, now):
            broker.connect(value).close()
        channel.queue_declare("default", passive=True)  # the connection lives
    channel.basic_ack(taken.delivery_tag)
    broker.converge(steps[-1])
    with pytest.raises((ConnectionError, amqp.AMQPError)):
        for _ in range(2):
            worker.drain_events(timeout=60)
    with pytest.raises(amqp.AccessRefused):
        broker.connect(former)
    with broker.connect(steps[-1]) as other:
        left = other.channel().queue_declare("default", passive=True)
        assert left.message_count == 0, "the task was confirmed, and is sent to nobody again"
