"""A program on its own terminal, to which a test types. Every wait has a time-out."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
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

    def start() -> None:
        os.chdir(cwd or ".")
        os.execve(command[0], list(command), environment or os.environ)

    with _fork(start) as terminal:
        yield terminal


@contextmanager
def open_forked(work: Callable[[], object], *, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run work on a terminal, in a fork of this process with more in its environment. The fork exits with 0 at its end.

    It costs milliseconds, where a new Python takes a second to import what the test has imported.
    """

    def start() -> None:
        signal.alarm(int(PATIENCE_S))
        os.environ.update(environment)
        # Those of this process are the runner's of tests.
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        except BaseException:  # above this frame is the runner of tests, which would run the others twice
            traceback.print_exc()

    with _fork(start) as terminal:
        yield terminal


@contextmanager
def _fork(start: Callable[[], object]) -> Iterator[Terminal]:
    pid, descriptor = pty.fork()
    if pid == 0:
        try:
            start()
        finally:
            os._exit(127)
    terminal = Terminal(pid, descriptor)
    try:
        yield terminal
    finally:
        terminal.kill()
