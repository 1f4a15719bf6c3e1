"""A program on its own terminal, to which a test types. Every wait has a time-out."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deadline import PATIENCE_S, wait_until

CHUNK = 4096


class Terminal:
    """A terminal with a program: type, read, and wait for the program's end."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self._pid = pid
        self._descriptor = descriptor
        self._status: int | None = None
        self.said = b""

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def read_until(self, text: bytes) -> None:
        """Read until the program has printed this. Raises AssertionError at the deadline or the program's end."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.said:
            assert self._read(deadline), f"{text!r} was not said: {self.said!r}"

    def wait(self) -> int:
        """Read to the end and return the exit code. Raises AssertionError at the deadline."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        wait_until(self._has_ended, f"its end, after {self.said!r}")
        assert self._status is not None
        return os.waitstatus_to_exitcode(self._status)

    def kill(self) -> None:
        """End the program, if it has not ended."""
        if not self._has_ended():
            os.kill(self._pid, signal.SIGKILL)
            _, self._status = os.waitpid(self._pid, 0)
        os.close(self._descriptor)

    def _read(self, deadline: float) -> bool:
        """Read the next output; return False at the end or the deadline."""
        if not select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        data = b""
        with suppress(OSError):  # the terminal has gone with its last user
            data = os.read(self._descriptor, CHUNK)
        self.said += data
        return bool(data)

    def _has_ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None


@contextmanager
def open_terminal(
    command: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run a program on a terminal, until the end of the context at the latest."""
    pid, descriptor = pty.fork()
    if pid == 0:
        try:
            os.chdir(cwd or ".")
            os.execve(command[0], list(command), environment or os.environ)
        finally:
            os._exit(127)
    terminal = Terminal(pid, descriptor)
    try:
        yield terminal
    finally:
        terminal.kill()
