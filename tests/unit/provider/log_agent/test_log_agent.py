"""The log agent takes each line once, whatever ends it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from airfleet_provider.log_agent import agent
from airfleet_provider.log_agent.discovery import LogTree
from airfleet_provider.log_agent.positions import FilePosition
from airfleet_provider.log_agent.process import LogAgentProcess
from airfleet_provider.log_index.store import LEFT_OUT, LogStoreError
from log_hosts import TRY, LogHost


def test_a_line_that_is_not_complete_waits_for_its_end(host: LogHost) -> None:
    path = host.print("whole")
    with path.open("a") as file:
        file.write('{"event":"ha')
    host.take()
    assert host.texts() == ["whole"]
    with path.open("a") as file:
        file.write('lf"}\n')
    host.take()
    assert sorted(host.texts()) == ["half", "whole"]


@pytest.mark.parametrize("moment", ["before the commit", "after the commit", "after the turn"])
def test_no_line_is_lost_or_doubled_when_the_agent_is_killed(host: LogHost, moment: str) -> None:
    host.print(*(f"number {number}" for number in range(10)))
    host.take()
    host.print(*(f"number {number}" for number in range(10, 20)))
    if moment == "before the commit":
        host.writer.fail_before_commit = True
    if moment == "after the commit":

        def die() -> None:
            raise KeyboardInterrupt

        host.writer.after_commit = die
    if moment == "after the turn":
        host.take()
    else:
        with pytest.raises((LogStoreError, KeyboardInterrupt)):
            host.take()
    host.restart()
    host.print(*(f"number {number}" for number in range(20, 30)))
    host.take()
    host.restart()
    host.take()
    assert sorted(host.texts("number"), key=lambda text: int(text.split()[1])) == [f"number {n}" for n in range(30)]


def test_an_outage_of_the_index_costs_no_line(host: LogHost) -> None:
    host.writer.fail_before_commit = True
    for number in range(5):
        host.print(f"number {number}")
        with pytest.raises(LogStoreError):
            host.agent.turn()
    host.writer.fail_before_commit = False
    host.take()
    assert len(host.texts("number")) == 5


def test_a_component_log_that_is_copied_and_emptied_goes_on_without_a_gap(host: LogHost) -> None:
    path = host.write("worker.log", *(f"old {number}" for number in range(100)))
    host.take()
    host.write("worker.log", "written before the copy")
    shutil.copyfile(path, path.with_suffix(".log.1"))
    os.truncate(path, 0)
    host.take()
    host.write("worker.log", "new 1")
    host.take()
    host.restart()
    host.take()
    assert len(host.texts("old")) == 100
    assert host.texts("written") == ["written before the copy"]
    assert host.texts("new") == ["new 1"]


def test_a_component_log_that_was_emptied_while_the_agent_was_down_loses_nothing(host: LogHost) -> None:
    path = host.write("worker.log", "first line of the old file")
    host.take()
    host.write("worker.log", "second line")
    shutil.copyfile(path, path.with_suffix(".log.1"))
    os.truncate(path, 0)
    host.write("worker.log", "a new file, longer than the old one was, and with another beginning")
    host.restart()
    host.take()
    assert len(host.texts()) == 3


def test_a_runaway_try_is_cut_with_a_line_that_says_so(tmp_path: Path) -> None:
    host = LogHost(tmp_path, most_bytes=10_000)
    path = host.print(*("x" * 200 for _ in range(1000)))
    host.take()
    found = host.search()
    assert 20 < len(found) < 60
    [marker] = host.search("airfleet")
    assert str(path) in marker.text
    assert marker.level == "warning"
    host.print("never seen")
    host.restart()
    host.take()
    assert host.texts("never") == []
    assert len(host.texts("airfleet")) == 1
    assert host.agent.totals.cut_bytes > 0


def test_other_logs_are_taken_while_one_task_floods(host: LogHost) -> None:
    host.most_bytes = 64 << 20
    host.restart()
    host.print(*(f"flood {number} {'x' * 300}" for number in range(20_000)))
    host.print("calm", relative="dag_id=calm/run_id=r/task_id=t/attempt=1.log")
    assert host.agent.turn()
    assert host.texts("calm") == ["calm"]


def test_a_host_with_a_new_name_goes_on_where_it_was(host: LogHost) -> None:
    host.print("before")
    host.take()
    host.name = "host9"
    host.restart()
    host.print("after")
    host.take()
    assert [(hit.text, hit.origin.host, hit.source.partition(":")[0]) for hit in host.search()] == [
        ("before", "host1", "host1"),
        ("after", "host9", "host9"),
    ]


def test_a_turn_takes_few_enough_lines_for_a_store(host: LogHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "TURN_LINES", 500)
    for task in range(4):
        host.write(f"tasks/dag_id=d/run_id=r/task_id=t{task}/attempt=1.log", "a\n" * 600, end="")
    host.agent.turn()
    assert 600 <= host.agent.totals.lines < 2400
    host.take()
    assert host.reader.count() == 2400


def test_a_line_that_fails_alone_is_replaced_and_counted(host: LogHost, monkeypatch: pytest.MonkeyPatch) -> None:
    hide = host.agent._maker._redaction.hide

    def fail(line: str) -> str:
        if "poison" in line:
            raise ArithmeticError
        return hide(line)

    monkeypatch.setattr(host.agent._maker._redaction, "hide", fail)
    host.print("before", "poison", "after")
    host.take()
    assert host.texts() == ["before", LEFT_OUT, "after"]
    assert host.agent.totals.left_out == 1


def test_an_unexpected_error_does_not_end_the_turns(host: LogHost, monkeypatch: pytest.MonkeyPatch) -> None:
    process = LogAgentProcess(host.agent, host.writer, keep_days=30)
    turn = host.agent.turn
    monkeypatch.setattr(host.agent, "turn", lambda: 1 // 0)
    assert process.turn() is False
    assert "ZeroDivisionError" in process.state.error
    monkeypatch.setattr(host.agent, "turn", turn)
    process.turn()
    assert (process.state.failures, process.state.error) == (1, "")


def test_a_retry_in_an_old_run_is_found(host: LogHost) -> None:
    path = host.print("first try")
    for folder in (path, *path.parents[:3]):
        os.utime(folder, (1, 1))
    host.take()
    host.restart()
    host.take()
    host.print("second try", relative=TRY.replace("attempt=1", "attempt=2"))
    host.take()
    host.take()
    assert {hit.origin.try_number for hit in host.search()} == {1, 2}


def test_a_link_to_a_file_elsewhere_is_not_read(host: LogHost, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the password of root\n")
    path = host.print("mine")
    (path.parent / "attempt=2.log").symlink_to(secret)
    (host.logs / "worker.log").symlink_to(secret)
    host.take()
    assert host.texts() == ["mine"]


def test_lines_of_components_wait_for_each_other_and_lines_of_tasks_do_not(host: LogHost) -> None:
    host.agent._components_every_s = 3600
    host.write("worker.log", "first")
    host.take()
    host.write("worker.log", "second")
    host.take()
    assert host.texts() == ["first"]
    assert host.agent.totals.waiting_bytes > 0
    host.print("of a task")
    host.take()
    assert sorted(host.texts()) == ["first", "of a task", "second"]


def _refuse(positions: Iterable[FilePosition], gone: Iterable[tuple[int, int]] = ()) -> None:
    if [*positions, *gone]:
        raise sqlite3.OperationalError("database or disk is full")


def test_a_file_that_appears_while_positions_cannot_be_written_is_taken_later(
    host: LogHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = host.print("written while the disk was full")
    hour_ago = time.time() - 3600
    for one in (path, *path.parents[:4]):
        # Neither a time stamp nor the sweep brings the file up again.
        os.utime(one, (hour_ago, hour_ago))

    with monkeypatch.context() as full_disk:
        full_disk.setattr(host.agent._positions, "write", _refuse)
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError):
                host.agent.turn()
    host.take()
    assert host.texts() == ["written while the disk was full"]


def test_a_run_that_is_removed_while_its_dag_is_looked_at_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = tmp_path / "dag_id=sales"
    for run in "abc":
        (dag / f"run_id={run}").mkdir(parents=True)
    for run in "ac":
        (dag / f"run_id={run}/attempt=1.log").touch()
    scan = os.scandir

    def list_and_remove(folder: str) -> Iterator[os.DirEntry[str]]:
        entries = sorted(scan(folder), key=lambda entry: entry.name)
        if folder == str(dag) and (dag / "run_id=b").exists():
            (dag / "run_id=b").rmdir()
        return iter(entries)

    monkeypatch.setattr(os, "scandir", list_and_remove)
    found = LogTree(str(tmp_path), time.monotonic, time.time).look()
    assert {Path(path).parent.name for path in found} == {"run_id=a", "run_id=c"}


def test_a_file_with_the_name_of_an_absurd_try_stops_no_other(host: LogHost) -> None:
    host.print("made by a task", relative=TRY.replace("attempt=1", f"attempt={'9' * 20}"))
    host.print("a real try")
    host.take()
    assert {hit.text: hit.origin.try_number for hit in host.search()} == {"made by a task": 0, "a real try": 1}


def test_days_that_are_too_old_are_removed_while_the_disk_has_no_room(host: LogHost) -> None:
    host.print("today")
    host.take()
    hours = [0.0]
    late = LogAgentProcess(
        host.agent, host.writer, keep_days=30, clock=lambda: hours[0] * 3600, wall=lambda: time.time() + 40 * 86_400
    )
    host.writer.fail_before_commit = True
    host.print("not taken")
    for _ in range(2):
        late.turn()
        hours[0] += 2
    assert late.state.in_a_row == 2
    assert host.reader.count() == 0
