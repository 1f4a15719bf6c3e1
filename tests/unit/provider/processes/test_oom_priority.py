"""Whom the kernel takes first when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from airfleet_provider.processes import oom_priority
from forked import start_fork


def in_child(do: Callable[[], int]) -> int:
    """What a child process found; its score ends with it."""
    ours, theirs = os.pipe()
    pid = start_fork(lambda: os.write(theirs, b"%d" % do()))
    os.close(theirs)
    os.waitpid(pid, 0)
    with os.fdopen(ours) as said:
        return int(said.read())


def read_score() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())


def test_a_task_goes_before_its_warm_process_that_before_a_supervisor_and_the_worker_last() -> None:
    assert 0 < oom_priority.SUPERVISOR < oom_priority.WARM < oom_priority.TASK

    def become() -> int:
        oom_priority.offer(oom_priority.SUPERVISOR)
        oom_priority.offer(oom_priority.TASK)
        return read_score()

    assert in_child(become) == max(oom_priority.TASK, read_score())
    assert in_child(read_score) == read_score(), "the one that forked it keeps its own score"


def test_nobody_gives_itself_a_lower_score_than_it_was_given() -> None:
    def become() -> int:
        oom_priority.offer(oom_priority.TASK)
        oom_priority.offer(oom_priority.SUPERVISOR)
        return read_score()

    assert in_child(become) == max(oom_priority.TASK, read_score())
