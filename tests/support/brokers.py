"""A RabbitMQ node by itself on the loopback."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import amqp
import pytest

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import AMQP, AMQPS, AUTHORITIES, Place
from airfleet.components.hosts import certificates
from airfleet.components.model import BrokerNode, BrokerPorts, reveal
from airfleet.components.rabbitmq import private_node
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.components.rabbitmq.server import TOOLS
from airfleet.errors import AirfleetError
from airfleet.runners.local import ports
from airfleet.runners.local.rabbitmq import find_programs
from airfleet.spec.secrets import Secret
from deadline import COMMAND_S, PATIENCE_S, wait_until


@dataclass(frozen=True)
class Broker:
    """A running node, and the environment of its tools.

    A node with the listeners of a host has a port with TLS, which also listens at 127.0.0.2: a name that its
    certificate does not have.
    """

    node: BrokerNode
    env: Mapping[str, str]
    tls_port: int = 0
    # The node's own process, which has children.
    pid: int = 0
    api_port: int = 0

    @property
    def authorities(self) -> Path:
        return self.node.folder / "ca.pem"

    @property
    def name(self) -> str:
        return f"{self.node.name}@localhost"

    def connect(self, user: str, password: str, vhost: str = "airfleet") -> amqp.Connection:
        connection = amqp.Connection(
            f"127.0.0.1:{self.node.ports.amqp}", user, password, virtual_host=vhost, read_timeout=180, write_timeout=180
        )
        connection.connect()
        return connection

    def control(self, *words: str) -> str:
        """Return the output of rabbitmqctl."""
        command = [str(self.node.server.parent / "rabbitmqctl"), "-q", "-n", self.name, *words]
        return subprocess.run(
            command, env=self.env, check=True, capture_output=True, text=True, timeout=COMMAND_S
        ).stdout

    def run(self, script: str) -> str:
        """Run a script of a host on this node instead of the host's, and return its output."""
        script = script.replace(f"{TOOLS}/", f"{self.node.server.parent}/").replace("rabbit@localhost", self.name)
        script = re.sub("^export HOME=.*$", "", script, flags=re.MULTILINE)
        # A machine that runs other tests as well may take a minute to start the tool.
        script = re.sub(r"\btimeout [0-9]+ ", "timeout 300 ", script)
        words = ["bash", "-euc", script]
        done = subprocess.run(words, env=self.env, check=False, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextlib.contextmanager
def serve(
    definitions: str | None = None,
    *,
    queues: tuple[str, ...] = (),
    like: Place | None = None,
    number: int = 0,
    metrics_port: int = 0,
    is_managed: bool = False,
) -> Iterator[Broker]:
    """A new node that runs until the end, with the definitions of a fleet, or with those of one machine.

    With `like` it has the listeners of that host. `number` tells the nodes of one process apart. At `metrics_port`, if
    any, it serves its metrics. If it `is_managed`, it serves the management API. Skips the test where RabbitMQ is not
    installed.
    """
    try:
        programs = find_programs()
    except AirfleetError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="airfleet-broker-", ignore_cleanup_errors=True) as name:
        amqp_port, names_port, nodes_port, tls_port, api_port = ports.find_several(5)
        listens = BrokerPorts(amqp=amqp_port, names=names_port, nodes=nodes_port, metrics=metrics_port)
        secrets = [Secret(f"only-for-tests-{number}") for number in range(4)]
        node = BrokerNode(
            f"airfleet-test-{os.getpid()}-{number}",
            Path(name),
            programs.server,
            programs.names_server,
            listens,
            *secrets,
        )
        component = private_node.describe(node, queues)
        for file in component.files:
            given = definitions if file.path.name == "definitions.json" else None
            file.path.write_text(reveal(file.content) if given is None else given)
            file.path.chmod(file.mode)
        if is_managed:
            (node.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
            with (node.folder / "rabbitmq.conf").open("a") as config:
                config.write(f"\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {api_port}\n")
        if like:
            take_listeners(node, like, tls_port)
        started = []
        try:
            for process in component.processes:
                env = {**os.environ, **{key: reveal(value) for key, value in process.env.items()}}
                with (Path(name) / f"{process.name}.log").open("ab") as log:
                    words = [reveal(word) for word in process.commands[0]]
                    started.append(subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True))
                assert isinstance(process.health, TcpCheck)
                is_secure = like and process.name == "rabbitmq"
                wait_until(
                    partial(is_open, tls_port if is_secure else process.health.port),
                    process.name,
                    seen=(Path(name) / f"{process.name}.log").read_text,
                )
            # It listens when everything else has started.
            yield Broker(node, env, tls_port, started[-1].pid, api_port=api_port)
        finally:
            for one in reversed(started):
                one.terminate()
                one.wait(PATIENCE_S)


def take_listeners(node: BrokerNode, like: Place, tls_port: int) -> None:
    """Give a node the listeners and the certificate of a host, at ports of this test."""
    config = node.folder / "rabbitmq.conf"
    others = [line for line in config.read_text().splitlines() if not line.startswith("listeners.")]
    listens = ("listeners.", "ssl_options.")
    own = [line for line in rabbitmq.render_config(like, ()).splitlines() if line.startswith(listens)]
    text = "\n".join([*others, *own, f"listeners.ssl.2 = 127.0.0.2:{tls_port}", ""])
    text = text.replace(f"{like.listen}:{AMQPS}", f"127.0.0.1:{tls_port}")
    text = text.replace(f"{like.listen}:{AMQP}", f"127.0.0.1:{node.ports.amqp}")
    text = text.replace(str(AUTHORITIES), str(node.folder / "ca.pem"))
    config.write_text(text.replace(str(rabbitmq.FOLDER), str(node.folder)))
    (node.folder / "ca.pem").write_text(like.credentials.encryption.trusted)
    write_certificate(node, like)


def write_certificate(node: BrokerNode, like: Place) -> None:
    for file in certificates.list_files(like, node.folder, "root"):
        file.path.write_text(reveal(file.content))


def is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
