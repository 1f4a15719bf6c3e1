"""A command's output is complete, whatever the order of its last bytes and its end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from airfleet.runners.fleet.transport import connection
from shells import name_host


class Channel:
    """A channel on which items arrive one after another, the next one when the last was read."""

    def __init__(self, *arrivals: str | bytes) -> None:
        self.arrivals = list(arrivals)
        self.buffer = b""
        self.eof_received = self.closed = self.ended = False

    def get_transport(self) -> Channel:
        return self

    def is_active(self) -> bool:
        return True

    def recv_ready(self) -> bool:
        return bool(self.buffer)

    def recv(self, _: int) -> bytes:
        read, self.buffer = self.buffer, b""
        return read

    def recv_stderr_ready(self) -> bool:
        return False

    def recv_stderr(self, _: int) -> bytes:
        return b""

    def exit_status_ready(self) -> bool:
        ended = self.ended
        match self.arrivals.pop(0) if self.arrivals else None:
            case bytes(data):
                self.buffer += data
            case "end":
                self.ended = True
            case "eof":
                self.eof_received = True
            case "closed":
                self.closed = True
        return ended


def read(*arrivals: str | bytes) -> bytes:
    return connection._read(Channel(*arrivals), time.monotonic() + 20)[0]


def test_words_that_come_after_the_exit_code_are_not_lost() -> None:
    assert read(b"first ", "end", b"last", "eof") == b"first last"


def test_the_end_of_the_stream_may_come_before_the_exit_code() -> None:
    assert read(b"all", "eof", "end") == b"all"


def test_a_child_that_holds_the_stream_open_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LEFT_OPEN_S", 0.1)
    assert read(b"said", "end") == b"said"


def test_a_connection_that_ends_before_the_command_is_an_error() -> None:
    with pytest.raises(EOFError):
        read(b"half", "closed")


class Answering(connection.HostConnection):
    """A connection on which every script ends with this result."""

    def __init__(self, output: connection.Output) -> None:
        super().__init__(name_host("h1"), Path())
        self._output = output

    def run(self, script: str, *, timeout_s: float = 60, data: object = None) -> connection.Output:
        return self._output


def test_a_worker_that_is_not_healthy_is_named_with_its_pool_and_queues() -> None:
    said = (
        "error: airfleet-worker-heavy.service is not healthy: failed failed exit-code\n"
        f"{connection.UNHEALTHY} airfleet-worker-heavy.service"
        " (worker of the pool heavy, which serves the queue heavy)\nModuleNotFoundError: No module named 'polars'\n"
    )
    with pytest.raises(connection.HostError) as raised:
        Answering(connection.Output(1, "", said)).check("true", what="restarting airfleet-worker-heavy")
    error = raised.value
    expected = "airfleet-worker-heavy (worker of the pool heavy, which serves the queue heavy) is not healthy: "
    assert error.what.startswith(expected)
    assert "polars" in error.what
