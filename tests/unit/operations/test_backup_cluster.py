"""Waiting for a server in recovery: the wait ends at once with the reason if recovery cannot succeed."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations.backup.embedded import cluster
from airfleet.operations.backup.embedded.cluster import Cluster
from airfleet.runners.local import ports
from airfleet.spec.secrets import Secret
from clocks import MadeUpClock

STARTING = ("57P03", "the database system is not yet accepting connections")
WRONG = ("28P01", 'password authentication failed for user "postgres"')


@contextmanager
def server(*refusals: tuple[str, str], asked: Callable[[], None] = lambda: None) -> Iterator[int]:
    """The port of a server that answers like PostgreSQL, with one refusal after another; the last one stays.

    `asked` is called before each answer.
    """
    left = list(refusals)

    def answer(connection: socket.socket) -> None:
        with connection:
            while True:
                size, code = struct.unpack("!II", connection.recv(8, socket.MSG_WAITALL))
                connection.recv(size - 8, socket.MSG_WAITALL)
                if code != 196608:  # what asks for encryption
                    connection.sendall(b"N")
                    continue
                asked()
                state, text = left.pop(0) if len(left) > 1 else left[0]
                fields = "".join(f"{kind}{value}\0" for kind, value in (("S", "FATAL"), ("C", state), ("M", text)))
                body = fields.encode() + b"\0"
                connection.sendall(b"E" + struct.pack("!I", len(body) + 4) + body)
                return

    def serve() -> None:
        while True:
            try:
                answer(listener.accept()[0])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])


def wait(
    folder: Path,
    port: int,
    code: str = "import time; time.sleep(600)",
    clock: Callable[[], float] = time.monotonic,
) -> None:
    log = folder / "log"
    log.touch()
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            Cluster(folder, folder, folder, Secret("x"), clock)._wait_writable(process, port, log)
        finally:
            process.kill()


def test_a_wrong_password_is_said_at_once_and_a_recovery_is_waited_for(tmp_path: Path) -> None:
    with (
        server(STARTING, STARTING, WRONG) as port,
        pytest.raises(AirfleetError, match="password authentication") as said,
    ):
        wait(tmp_path, port)
    assert "secrets" in said.value.hint


def test_one_that_says_nothing_any_more_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "STALLED_S", 0.3)
    with server(STARTING) as port, pytest.raises(AirfleetError, match=r"nor logged anything for 0\.3 s"):
        wait(tmp_path, port)


def test_one_that_goes_on_recovering_is_waited_for(tmp_path: Path) -> None:
    log, clock = tmp_path / "log", MadeUpClock()
    code = (
        "import pathlib, time\n"
        f"log = pathlib.Path({str(log)!r})\n"
        "while log.read_text().count('restored') < 5:\n"
        "    time.sleep(0.05)\n"
        "with log.open('a') as file:\n"
        "    file.write('FATAL:  recovery ended before the target\\n')\n"
    )

    def recover() -> None:
        clock.now += 0.9 * cluster.STALLED_S
        with log.open("a") as file:
            file.write("restored log file\n")

    with (
        server(STARTING, asked=recover) as port,
        pytest.raises(AirfleetError, match="recovery ended before the target"),
    ):
        wait(tmp_path, port, code, clock)


def test_one_that_does_not_listen_yet_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(AirfleetError, match="did not start"):
        wait(tmp_path, ports.find_free(), "pass")
