"""Waiting for a server in recovery: the wait ends at once with the reason if recovery cannot succeed."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations.backup.embedded import cluster
from airfleet.operations.backup.embedded.cluster import Cluster
from airfleet.runners.local import ports
from airfleet.spec.secrets import Secret

STARTING = ("57P03", "the database system is not yet accepting connections")
WRONG = ("28P01", 'password authentication failed for user "postgres"')


@contextmanager
def server(*refusals: tuple[str, str]) -> Iterator[int]:
    """The port of a server that answers like PostgreSQL, with one refusal after another; the last one stays."""
    left = list(refusals)

    def answer(connection: socket.socket) -> None:
        with connection:
            while True:
                size, code = struct.unpack("!II", connection.recv(8, socket.MSG_WAITALL))
                connection.recv(size - 8, socket.MSG_WAITALL)
                if code != 196608:  # what asks for encryption
                    connection.sendall(b"N")
                    continue
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


def wait(folder: Path, port: int, code: str = "import time; time.sleep(60)") -> None:
    log = folder / "log"
    log.touch()
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            Cluster(folder, folder, folder, Secret("x"))._wait_writable(process, port, log)
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


def test_one_that_goes_on_recovering_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "STALLED_S", 1.0)
    log = tmp_path / "log"
    code = (
        "import time\n"
        f"file = open({str(log)!r}, 'a')\n"
        "for number in range(12):\n"
        "    print('restored log file', file=file, flush=True)\n"
        "    time.sleep(0.2)\n"
        "print('FATAL:  recovery ended before the target', file=file, flush=True)\n"
    )
    with server(STARTING) as port, pytest.raises(AirfleetError, match="recovery ended before the target"):
        wait(tmp_path, port, code)


def test_one_that_does_not_listen_yet_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(AirfleetError, match="did not start"):
        wait(tmp_path, ports.find_free(), "pass")
