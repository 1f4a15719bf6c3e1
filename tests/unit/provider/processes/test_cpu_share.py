"""Tasks with `cpus_high`: when they yield to others, and when they have their weight again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from airfleet_provider.contract.task_limits import TaskLimits
from airfleet_provider.processes.cpu_share import INTERVAL_S, REFUSED_S, CpuFiles, CpuShare, CpuShares
from airfleet_provider.processes.task_group import find_groups
from deadline import wait_until
from forked import start_fork


class Task:
    """A task whose files are a kernel's in all but what they do. It begins at 100 s."""

    def __init__(self, folder: Path, *, has_idle: bool = True) -> None:
        self.folder, self.now, self.used_s, self.refusals = folder, 100.0, 0.0, 0
        if has_idle:
            (folder / "cpu.idle").write_text("0")
        (folder / "cpu.weight").write_text("50")
        self.files = CpuFiles(folder, "cpu.weight", 50, 1, time=folder / "cpu.stat", refusals=folder / "pids.events")
        self._write()
        self.share = CpuShare(self.files, 1.0, self.now)

    def run(self, cpus: float, seconds: float, refusals: int = 0) -> bool:
        """Let it use so many CPUs, and be refused so many processes; return whether it yields then."""
        for _ in range(round(seconds / INTERVAL_S)):
            self.now += INTERVAL_S
            self.used_s += cpus * INTERVAL_S
            self.refusals += refusals
            self._write()
            self.share.look(self.now)
        assert (self.read("cpu.idle") == "1") == self.share.is_yielding
        return self.share.is_yielding

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def _write(self) -> None:
        (self.folder / "cpu.stat").write_text(f"usage_usec {round(self.used_s * 1e6)}\nuser_usec 0\n")
        (self.folder / "pids.events").write_text(f"max {self.refusals}\n")


def test_a_task_that_uses_more_than_it_may_yields_and_one_that_does_not_never_does(tmp_path: Path) -> None:
    task = Task(tmp_path)
    assert not task.run(1.0, 60), "one process that computes without end uses what it may"
    assert not task.run(2.0, INTERVAL_S), "a moment of more is no harm"
    assert task.run(3.0, 2)
    assert task.run(1.5, 60), "what the others leave it is more than it may use, so they go first"


def test_a_task_that_others_leave_less_than_it_may_use_has_its_weight_again(tmp_path: Path) -> None:
    task = Task(tmp_path)
    assert task.run(4.0, 60)
    assert not task.run(0.2, 2), "it owes a second at most, however long it had more"
    assert task.read("cpu.weight") == "50", "an idle group has lost its weight"
    assert not task.run(1.0, 60)


def test_a_task_that_is_refused_processes_yields_for_a_while(tmp_path: Path) -> None:
    task = Task(tmp_path)
    assert task.run(0.3, 60, refusals=5)
    assert not task.run(0.3, REFUSED_S + INTERVAL_S)


def test_a_kernel_without_idle_groups_gives_the_least_weight(tmp_path: Path) -> None:
    task = Task(tmp_path, has_idle=False)
    task.share.files.set_yielding(yields=True)
    assert task.read("cpu.weight") == "1"
    task.share.files.set_yielding(yields=False)
    assert task.read("cpu.weight") == "50"
    assert not (tmp_path / "cpu.idle").exists()


def test_tasks_are_looked_at_in_turns_for_as_long_as_there_are_any(tmp_path: Path) -> None:
    task, shares = Task(tmp_path), CpuShares()
    assert shares.due is None
    shares.add(task.files, 0.1, 100.0)
    task.run(1.0, 10 * INTERVAL_S)
    shares.look(100.0 + INTERVAL_S / 2)
    assert not shares.tasks[tmp_path].is_yielding, "it is too early"
    shares.look(100.0 + INTERVAL_S)
    assert shares.tasks[tmp_path].is_yielding
    assert shares.due == 100.0 + 2 * INTERVAL_S
    shares.remove(task.files)
    assert shares.due is None
    (tmp_path / "gone").mkdir()
    gone = CpuFiles(tmp_path / "gone", "cpu.weight", 100, 1, tmp_path / "no" / "time", tmp_path / "no" / "events")
    (tmp_path / "gone").rmdir()
    gone.set_yielding(yields=True)
    assert (gone.read_used_s(), gone.count_refusals()) == (0.0, 0)


def test_the_kernel_of_this_machine_counts_what_a_task_uses_and_lets_it_yield() -> None:
    groups = find_groups()
    if groups is None:
        pytest.skip("no cgroup can be made here")
    group = groups.make(TaskLimits(cpus_high=0.1, pids=16))
    if group.cpu is None:
        group.remove()
        pytest.skip(f"no controller of CPUs here: {group.missing}")

    def spin() -> None:
        group.join()
        while True:
            pass

    pid = start_fork(spin)
    try:
        # Each look is a second later than the last one, whatever the clock of a busy machine says.
        share, now = CpuShare(group.cpu, 0.1, 0.0), iter(range(1, 1 << 30))
        share.credit_s = 0.0
        used = group.cpu.read_used_s
        wait_until(lambda: used() > 0.3, "some CPU time of the task")
        share.look(next(now))
        assert share.is_yielding
        if (idle := group.cpu.folder / "cpu.idle").exists():
            assert idle.read_text().strip() == "1"
        share.files.set_yielding(yields=False)
        weight = int((group.cpu.folder / group.cpu.weight_file).read_text())
        assert weight == group.cpu.weight
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        wait_until(group.remove, "the end of the group")
