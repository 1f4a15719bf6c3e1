"""Airflow's UI reads a log from the index if its file is gone, whole and in its order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from airfleet_provider.log_search.task_logs import LOGGING_CONFIG, IndexedTaskLogs
from log_hosts import TRY, LogHost

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
AGO = timedelta(seconds=1)


@pytest.fixture
def host(tmp_path: Path) -> LogHost:
    return LogHost(tmp_path)


@pytest.fixture
def logs(host: LogHost) -> IndexedTaskLogs:
    return IndexedTaskLogs(host.tasks, lambda: host.reader, has_hosts=False, now=lambda: NOW)


def test_a_file_that_is_there_is_left_to_airflow(host: LogHost, logs: IndexedTaskLogs) -> None:
    host.print("loaded")
    host.take()
    assert logs.stream(TRY, None) == ([], [])


def test_a_log_whose_file_is_gone_is_read_whole(host: LogHost, logs: IndexedTaskLogs) -> None:
    path = host.print(*(f"line {number}" for number in range(5000)))
    written = path.read_text().splitlines()
    host.take()
    path.unlink()
    sources, [lines] = logs.stream(TRY, None)
    assert list(lines) == written
    assert sources == ["the index of logs: lines from host1"]
    assert logs.read(TRY, None)[1] == ["\n".join(written)]


def test_each_file_of_a_try_is_a_stream(host: LogHost, logs: IndexedTaskLogs) -> None:
    paths = [host.print("runs"), host.print("waits", relative=f"{TRY}.trigger.7.log")]
    host.take()
    for path in paths:
        path.unlink()
    _, streams = logs.stream(TRY, None)
    assert sorted(json.loads(line)["event"] for lines in streams for line in lines) == ["runs", "waits"]


def test_another_try_is_not_shown(host: LogHost, logs: IndexedTaskLogs) -> None:
    host.print("first")
    host.take()
    assert logs.stream(TRY.replace("attempt=1", "attempt=2"), None) == ([], [])


def test_the_log_of_another_dag_is_not_shown_whose_joined_names_are_the_same(
    host: LogHost, logs: IndexedTaskLogs
) -> None:
    one, another = (f"dag_id={dag}/run_id=r/task_id={task}/attempt=1.log" for dag, task in (("a", "r-b"), ("a-r", "b")))
    path = host.print("secret of the other", relative=another)
    host.take()
    path.unlink()
    assert logs.stream(one, None) == ([], [])


def test_an_index_that_cannot_be_read_says_so(host: LogHost, logs: IndexedTaskLogs) -> None:
    path = host.print("first")
    host.take()
    path.unlink()
    for meta in host.root.glob("index/*/meta.json"):
        meta.write_text("broken")
    sources, streams = logs.stream(TRY, None)
    assert streams == []
    assert "cannot be read" in sources[0]


@pytest.mark.parametrize(
    ("ended", "reported", "is_read_here"),
    [
        (NOW - AGO, NOW - AGO, False),
        (NOW - 60 * AGO, NOW - 60 * AGO, True),
        (None, NOW - AGO, False),
        (None, NOW - 600 * AGO, True),
        (None, None, True),
    ],
)
def test_a_host_that_serves_a_log_now_is_asked_before_the_index(
    host: LogHost, ended: datetime | None, reported: datetime | None, is_read_here: bool
) -> None:
    path = host.print("loaded")
    host.take()
    path.unlink()
    logs = IndexedTaskLogs(host.tasks, lambda: host.reader, has_hosts=True, now=lambda: NOW)
    _, streams = logs.stream(TRY, SimpleNamespace(end_date=ended, last_heartbeat_at=reported))
    assert bool(streams) is is_read_here


def test_airflow_keeps_its_own_configuration_of_logging() -> None:
    assert "task" in LOGGING_CONFIG["handlers"]
