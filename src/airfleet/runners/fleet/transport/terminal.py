"""Run a command on a host as if it ran here: pass through input, output, terminal, signals and exit code."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from airfleet.runners.fleet.transport.connection import CHUNK, HostConnection, HostError

POLL_MS = 200
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_terminal() -> bool:
    """Return whether both input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def attach(connection: HostConnection, script: str, *, terminal: bool, interrupt: Callable[[str], None]) -> int:
    """Run a script as root with the input and output of this process, and return its exit code.

    If this process gets a signal, `interrupt` is called with the signal's name, and the command reacts to it.

    Raises:
        HostError: The connection breaks.
        BrokenPipeError: The reader of the output has gone. `interrupt` was called to end the command.
    """
    size = shutil.get_terminal_size() if terminal else None
    channel = connection.start(script, terminal=size)
    try:
        if terminal:
            return _converse(channel, connection.host.name)
        return _carry(channel, connection.host.name, interrupt)
    except BrokenPipeError:
        interrupt("SIGTERM")
        raise
    finally:
        channel.close()


def _converse(channel: Any, host: str) -> int:  # noqa: ANN401 - paramiko has no types
    """Pass a terminal through, and return the exit code. The host gets every key, also Ctrl-C."""
    with _raw(sys.stdin.fileno()), _resizing(channel):
        sources = select.poll()
        sources.register(channel.fileno(), select.POLLIN)
        sources.register(sys.stdin.fileno(), select.POLLIN)
        while True:
            if any(source == sys.stdin.fileno() for source, _ in sources.poll(POLL_MS)):
                keys = os.read(sys.stdin.fileno(), CHUNK)
                if keys:
                    channel.sendall(keys)
                else:
                    sources.unregister(sys.stdin.fileno())
                    channel.shutdown_write()
            _drain(channel)
            if _has_ended(channel, host):
                return int(channel.recv_exit_status())


def _carry(channel: Any, host: str, interrupt: Callable[[str], None]) -> int:  # noqa: ANN401
    threading.Thread(target=_feed, args=(channel,), daemon=True).start()
    sources = select.poll()
    sources.register(channel.fileno(), select.POLLIN)
    with _noting() as caught:
        while True:
            sources.poll(POLL_MS)
            while caught:
                interrupt(caught.pop(0).name)
            _drain(channel)
            if _has_ended(channel, host):
                return int(channel.recv_exit_status())


def _feed(channel: Any) -> None:  # noqa: ANN401
    # The end of the input is passed on to the host. A command that has ended reads no input.
    with suppress(OSError, EOFError, ValueError):
        while data := os.read(sys.stdin.fileno(), CHUNK):
            channel.sendall(data)
        channel.shutdown_write()


def _drain(channel: Any) -> None:  # noqa: ANN401
    while channel.recv_ready():
        _write(sys.stdout.buffer, channel.recv(CHUNK))
    while channel.recv_stderr_ready():
        _write(sys.stderr.buffer, channel.recv_stderr(CHUNK))


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
    stream.flush()


def _has_ended(channel: Any, host: str) -> bool:  # noqa: ANN401
    # The end is checked first, so that all earlier output is already there to read.
    if not (channel.eof_received or channel.closed):
        if channel.get_transport().is_active():
            return False
        raise HostError("the connection broke; the command may still run there", where=host)
    if channel.recv_ready() or channel.recv_stderr_ready():
        return False
    # A channel whose output has ended is readable for ever, so the caller's poll no longer waits for anything.
    if channel.status_event.wait(POLL_MS / 1000):
        if channel.recv_exit_status() < 0:
            raise HostError("the connection ended before the command did", where=host)
        return True
    return False


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _resizing(channel: Any) -> Iterator[None]:  # noqa: ANN401
    def resize(*_: object) -> None:
        size = shutil.get_terminal_size()
        with suppress(OSError, EOFError):
            channel.resize_pty(width=size.columns, height=size.lines)

    before = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def _noting() -> Iterator[list[signal.Signals]]:
    """Yield a list that collects the signals to this process. They do not end this process."""
    caught: list[signal.Signals] = []
    before = {one: signal.signal(one, lambda number, _: caught.append(signal.Signals(number))) for one in PASSED_ON}
    try:
        yield caught
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
