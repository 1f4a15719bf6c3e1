"""Airflow's UI reads a log from the index if its file is gone, whole and in its order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airfleet_provider.log_search.task_logs import LOGGING_CONFIG, IndexedTaskLogs
from log_hosts import TRY, LogHost


@pytest.fixture
def host(tmp_path: Path) -> LogHost:
    return LogHost(tmp_path)


@pytest.fixture
def logs(host: LogHost) -> IndexedTaskLogs:
    return IndexedTaskLogs(host.tasks, host.root / "index")


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


def test_airflow_keeps_its_own_configuration_of_logging() -> None:
    assert "task" in LOGGING_CONFIG["handlers"]
