"""A real rsyslogd with the file of examples/logging sends lines of tasks on, named by the path of their file."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deadline import PATIENCE_S, REQUEST_S, wait_until

CONFIG = Path(__file__).parents[3] / "examples" / "logging" / "rsyslog.conf"
# Only one that is named: that of a system may be confined to files of its own. RSYSLOG_MODULES is a folder.
RSYSLOGD = os.environ.get("RSYSLOGD")
RUN = "manual__2026-01-01T00:00:00+00:00"

pytestmark = pytest.mark.skipif(not RSYSLOGD, reason="RSYSLOGD names no rsyslogd: make test-rsyslog")


class TcpTarget:
    """A target of lines, as Logstash with `codec => json_lines` is one."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE_S)
        self.port: int = self.socket.getsockname()[1]
        self._connection: socket.socket | None = None
        self._rest = b""
        self.lines: list[dict[str, Any]] = []

    def read(self, most_s: float = 0.2) -> list[dict[str, Any]]:
        """Return all lines so far."""
        try:
            if self._connection is None:
                self._connection, _ = self.socket.accept()
                self._connection.settimeout(most_s)
            got = self._connection.recv(1 << 16)
        except TimeoutError:
            return self.lines
        if not got:
            self._connection.close()
            self._connection = None
        *whole, self._rest = (self._rest + got).split(b"\n")
        self.lines += [json.loads(line) for line in whole]
        return self.lines

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self.socket.close()


@pytest.fixture
def target() -> Iterator[TcpTarget]:
    one = TcpTarget()
    yield one
    one.close()


@contextmanager
def run_rsyslog(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run rsyslogd with the configuration of the example, but for its folder and its target."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    text = CONFIG.read_text()
    for old, new in (
        ("/var/log/airfleet/tasks", str(folder / "tasks")),
        ("logs.example.com", "127.0.0.1"),
        ('"5170"', f'"{port}"'),
        ('resumeInterval="5"', 'resumeInterval="1"'),
    ):
        assert old in text
        text = text.replace(old, new)
    file = folder / "rsyslog.conf"
    file.write_text(f'global(workDirectory="{work}")\n{text}')
    modules = ["-M", found] if (found := os.environ.get("RSYSLOG_MODULES")) else []
    command = [str(RSYSLOGD), "-n", "-f", str(file), "-i", str(folder / "pid"), *modules]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(folder / "stderr").open("wb"))
    try:
        yield process
    finally:
        process.kill()
        process.wait(REQUEST_S)
        (folder / "pid").unlink(missing_ok=True)


def write(folder: Path, *lines: str, place: str = "attempt=1.log", dag: str = "sales") -> Path:
    file = folder / "tasks" / f"dag_id={dag}" / f"run_id={RUN}" / "task_id=load" / place
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        handle.write("".join(f"{line}\n" for line in lines))
    return file


def event(text: str, level: str = "info", **more: object) -> str:
    return json.dumps({"timestamp": "2026-01-01T00:00:01Z", "level": level, "event": text, "logger": "task", **more})


def await_lines(target: TcpTarget, number: int) -> dict[str, dict[str, Any]]:
    """Wait for so many lines, and return them by their text."""
    wait_until(lambda: len(target.read()) >= number, f"{number} lines")
    return {one["text"]: one for one in target.lines}


def test_a_line_has_the_name_of_its_try_by_the_path_of_its_file(tmp_path: Path, target: TcpTarget) -> None:
    long = "x" * 30_000
    file = write(tmp_path, event('bad "x" ü\nsecond', "error"), "a line without JSON", event(long))
    # A task writes into its log what it likes. That names no other Dag.
    write(tmp_path, event("mapped", metadata={"filename": "/x/dag_id=other/"}), place="map_index=3/attempt=2.log")
    with run_rsyslog(tmp_path, target.port):
        found = await_lines(target, 4)
        # A file that is made later is found too.
        write(tmp_path, event("another Dag"), dag="orders")
        found = await_lines(target, 5)
    own = found['bad "x" ü\nsecond']
    assert {key: own[key] for key in ("dag_id", "run_id", "task_id", "map_index", "try_number", "level", "logger")} == {
        "dag_id": "sales",
        "run_id": RUN,
        "task_id": "load",
        "map_index": "-1",
        "try_number": "1",
        "level": "error",
        "logger": "task",
    }
    assert own["@timestamp"] == "2026-01-01T00:00:01Z"
    assert own["file"] == str(file)
    assert own["host"]
    plain, mapped = found["a line without JSON"], found["mapped"]
    assert (plain["level"], plain["dag_id"], plain["@timestamp"][:2]) == ("info", "sales", "20")
    assert (mapped["dag_id"], mapped["map_index"], mapped["try_number"]) == ("sales", "3", "2")
    assert found["another Dag"]["dag_id"] == "orders"
    assert found[long]["level"] == "info"
    # Where a line begins names it.
    content = file.read_bytes()
    for one in (own, plain, found[long]):
        assert content[: int(one["offset"])].count(b"\n") == [own, plain, found[long]].index(one)


def test_no_line_is_lost_when_rsyslog_is_killed(tmp_path: Path, target: TcpTarget) -> None:
    wanted = [f"line {number}" for number in range(300)]
    write(tmp_path, *map(event, wanted[:100]))
    with run_rsyslog(tmp_path, target.port):
        await_lines(target, 100)
        write(tmp_path, *map(event, wanted[100:200]))
        await_lines(target, 200)
    write(tmp_path, *map(event, wanted[200:]))
    with run_rsyslog(tmp_path, target.port):
        read_until(target, lambda found: set(wanted) <= {one["text"] for one in found})
    # It was killed, so some came twice; their place says which.
    assert len({(one["file"], one["offset"]) for one in target.lines}) == len(wanted)


def read_until(target: TcpTarget, is_enough: Callable[[list[dict[str, Any]]], bool]) -> None:
    wait_until(lambda: is_enough(target.read()), "all lines")
