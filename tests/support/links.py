"""A link to a port of the loopback that can be cut, frozen or slowed down."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from airfleet.runners.local import ports
from deadline import PATIENCE_S


@dataclass
class Link:
    """A proxy to a port of the loopback. It passes on what it held back once it is `free` again."""

    target: int
    port: int = field(default_factory=ports.find_free)
    delay_s: float = 0.0
    holds_answers_after: int | None = None

    def hold(self, after: int = 0) -> None:
        """From now on let this many bytes of answers through, and hold back all that follow."""
        self.holds_answers_after = after

    def free(self) -> None:
        self.holds_answers_after = None


@contextlib.contextmanager
def link(target: int) -> Iterator[Link]:
    """Yield an open link. It runs in its own thread until the end of the context."""
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
    assert ready.wait(PATIENCE_S)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
