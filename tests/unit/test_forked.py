"""Forks of the tests' own process: none of them goes on as a second runner of tests."""

from __future__ import annotations

import os
import signal

import pytest

from forked import start_fork


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_work_that_raises_ends_its_fork_and_does_not_return(capfd: pytest.CaptureFixture[str]) -> None:
    own = os.getpid()

    def fail() -> None:
        raise SystemExit("what pytest would take for a failed test")

    pid = start_fork(fail)
    assert os.getpid() == own
    assert wait(pid) == 1
    assert "what pytest would take" in capfd.readouterr().err
    assert wait(start_fork(lambda: None)) == 0


def test_work_without_an_end_ends_with_who_forked_it_and_after_its_time() -> None:
    reader, writer = os.pipe()

    def fork_again() -> None:
        start_fork(signal.pause)
        os.write(writer, b"x")

    def read() -> bytes:
        return os.read(reader, 1)

    parent = start_fork(fork_again)
    os.close(writer)
    assert wait(parent) == 0
    assert (read(), read()) == (b"x", b""), "the pipe is closed once the last one has ended"
    os.close(reader)
    former = signal.signal(signal.SIGALRM, lambda *_: None)  # as Airflow leaves one
    try:
        assert wait(start_fork(signal.pause, timeout_s=1)) == -signal.SIGALRM
    finally:
        signal.signal(signal.SIGALRM, former)
