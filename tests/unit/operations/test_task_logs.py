"""The end of a task's log on this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from airfleet.operations import task_logs
from airfleet.operations.dag_runs import FollowedTask
from airfleet.workspace.project import find_state
from airfleet_provider.contract.explanation import task_log

TASK = FollowedTask("load", -1, 1, "failed", datetime(2026, 1, 1, tzinfo=UTC), None)


@pytest.mark.parametrize(("most", "lines"), [(1000, ["first", "a\u2028b", "last"]), (12, ["a\u2028b", "last"])])
def test_whole_lines_of_the_end_are_read(tmp_path: Path, most: int, lines: list[str]) -> None:
    path = find_state(tmp_path, None).logs / "tasks" / task_log.locate("sales", "one", TASK)
    path.parent.mkdir(parents=True)
    path.write_text("first\na\u2028b\nlast\n", encoding="utf-8")
    assert task_logs.read_end(tmp_path, None, "sales", "one", TASK, most_bytes=most) == lines


def test_no_log_and_no_file_outside_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "attempt=1.log").write_text("secret\n")
    assert task_logs.read_end(tmp_path, None, "sales", "one", TASK, most_bytes=99) == []
    assert task_logs.read_end(tmp_path, None, "x/../../../../../..", "one/..", TASK, most_bytes=99) == []
