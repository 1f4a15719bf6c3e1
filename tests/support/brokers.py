"""A private RabbitMQ, and a link to it that can be cut, frozen or slowed down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from airfleet.components.model import BrokerNode, BrokerPorts, reveal
from airfleet.components.rabbitmq.private_node import describe
from airfleet.runners.local import ports
from airfleet.runners.local.rabbitmq import find_programs
from airfleet.spec.secrets import Secret
from deadline import wait_until

QUEUES = ("default",)


@contextlib.contextmanager
def serve() -> Iterator[BrokerNode]:
    """A new empty node that runs until the end."""
    programs = find_programs()
    with tempfile.TemporaryDirectory(prefix="airfleet-broker-", ignore_cleanup_errors=True) as name:
        numbers = BrokerPorts(ports.find_free(), ports.find_free(), ports.find_free())
        secrets = [Secret(f"only-for-tests-{number}") for number in range(4)]
        node = BrokerNode("tests", Path(name), programs.server, programs.names_server, numbers, *secrets)
        component = describe(node, QUEUES)
        for file in component.files:
            file.path.write_text(reveal(file.content))
            file.path.chmod(0o600)
        running = []
        try:
            for process in component.processes:
                words = [reveal(word) for word in process.commands[0]]
                env = {"PATH": os.environ["PATH"]} | {key: reveal(value) for key, value in process.env.items()}
                with (node.folder / f"{process.name}.out").open("wb") as log:
                    running.append(subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True))
            wait_until(lambda: is_open(numbers.amqp), "RabbitMQ", timeout_s=300)
            yield node
        finally:
            for started in reversed(running):
                started.terminate()
                started.wait(60)


def is_open(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Link:
    """A way to a port of the loopback; what is held back is handed on once it is `free` again."""

    target: int
    port: int = field(default_factory=ports.find_free)
    delay_s: float = 0.0
    holds_answers_after: int | None = None

    def hold(self, after: int = 0) -> None:
        """Let this many bytes of answers through from now on, and none that follow."""
        self.holds_answers_after = after

    def free(self) -> None:
        self.holds_answers_after = None


@contextlib.contextmanager
def link(target: int) -> Iterator[Link]:
    """A link that is open until the end; it runs in a thread of its own."""
    made = Link(target)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if is_answer:
                    data = await hold_back(data, writer)
                    await asyncio.sleep(made.delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def hold_back(data: bytes, writer: asyncio.StreamWriter) -> bytes:
        if made.holds_answers_after is not None:
            through, data = data[: made.holds_answers_after], data[made.holds_answers_after :]
            made.holds_answers_after -= len(through)
            writer.write(through)
            while data and made.holds_answers_after is not None:
                await asyncio.sleep(0.01)
        return data

    async def open_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        answers = asyncio.ensure_future(carry(far_reader, writer, is_answer=True))
        await carry(reader, far_writer, is_answer=False)
        await answers

    async def run() -> None:
        server = await asyncio.start_server(open_way, "127.0.0.1", made.port)
        ready.set()
        await server.serve_forever()

    task = loop.create_task(run())

    def drive() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        for left in asyncio.all_tasks(loop):
            left.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    thread = threading.Thread(target=drive, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
