"""The limits of the tasks that a zygote forks: what is in force, what the log says, and what is left when it is not."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet_provider.compat.patches import task_start
from airfleet_provider.contract.task_limits import LimitRule, TaskLimits
from airfleet_provider.processes import fd_messages, task_group
from airfleet_provider.processes.cpu_share import CpuFiles
from airfleet_provider.processes.memory_group import MemoryGroup
from airfleet_provider.processes.polling import wait_readable
from airfleet_provider.task_runtime.task_limits import NONE, Confinement, TaskLimiter, describe_kills
from airfleet_provider.task_runtime.zygote import Loaded, Zygote
from deadline import PATIENCE_S

SMALL = LimitRule("small", dag="sales", limits=TaskLimits(memory=64 << 20, pids=100))


def make_bag(hint: object = None) -> SimpleNamespace:
    config = {"airfleet": hint} if hint else {}
    return SimpleNamespace(dags={"sales": SimpleNamespace(task_dict={"load": SimpleNamespace(executor_config=config)})})


class Refusing:
    kind = "cgroup v2"

    def make(self, limits: TaskLimits) -> task_group.TaskGroup:
        raise OSError("no more groups")


def test_a_task_without_limits_costs_nothing() -> None:
    def find() -> None:
        raise AssertionError("nobody asked for a group")

    limiter = TaskLimiter((SMALL,), "cpu", find_groups=find)
    assert limiter.confine(make_bag(), ["lake", "fill"]) is NONE
    assert limiter.confine(make_bag(), None) is NONE, "a supervisor of an earlier version names no task"
    assert NONE.enter() is None
    assert limiter.end(NONE) is None


def test_what_the_author_asks_for_is_read_from_the_dag_file() -> None:
    limiter = TaskLimiter((SMALL,), "cpu", find_groups=lambda: None)
    assert limiter.confine(make_bag({"memory": "40M"}), ["sales", "load"]).limits == TaskLimits(40 << 20, pids=100)
    assert limiter.confine(make_bag({"memory": "40M"}), ["sales", "gone"]).limits == SMALL.limits
    broken = SimpleNamespace(dags={"sales": None})
    assert limiter.confine(broken, ["sales", "load"]).limits == SMALL.limits


@pytest.mark.parametrize("groups", [None, Refusing()])
def test_without_a_group_the_log_names_what_is_not_in_force(
    groups: task_group.Groups | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited: list[TaskLimits] = []
    monkeypatch.setattr(task_group, "limit_data", limited.append)
    limiter = TaskLimiter((SMALL,), "cpu", find_groups=lambda: groups)
    confinement = limiter.confine(make_bag(), ["sales", "load"])
    assert (
        confinement.enter() == "airfleet: no cgroup can be made here. Limits of this task that are not in force: pids"
    )
    assert limited == [SMALL.limits]
    assert limiter.end(confinement) is None


def run(limiter: TaskLimiter, monkeypatch: pytest.MonkeyPatch, body: object) -> tuple[dict[str, Any], str]:
    """Return how a task of a zygote ends that runs the body, and what its stderr holds."""
    monkeypatch.setattr(task_start, "run_task", body)
    keeper, control = fd_messages.pair()
    supervisor, status = fd_messages.pair()
    streams = [socket.socketpair() for _ in range(fd_messages.TASK_DESCRIPTORS - 1)]
    order = {"task": ["sales", "load"]}
    fd_messages.send(keeper, order, [*(theirs.fileno() for _, theirs in streams), status.fileno()])
    keeper.close()
    status.close()
    for _, theirs in streams:
        theirs.close()
    Zygote(control, Loaded(make_bag(), []), limiter=limiter).serve()
    assert "pid" in (fd_messages.receive(supervisor)[0] or {})
    stderr = streams[2][0]
    text = stderr.recv(1 << 16).decode() if wait_readable([stderr], 60) else ""
    return fd_messages.receive(supervisor)[0] or {}, text


@pytest.fixture
def groups() -> task_group.Groups:
    found = task_group.find_groups()
    if found is None:
        pytest.skip("no cgroup can be made here")
    return found


@pytest.fixture
def made(groups: task_group.Groups, monkeypatch: pytest.MonkeyPatch) -> list[task_group.TaskGroup]:
    """The groups that are made during the test."""
    made: list[task_group.TaskGroup] = []
    real = groups.make

    def make(_: object, limits: TaskLimits) -> task_group.TaskGroup:
        made.append(real(limits))
        return made[-1]

    monkeypatch.setattr(type(groups), "make", make)
    return made


def test_a_task_at_its_limit_is_killed_alone_and_told_from_its_own_counter(
    groups: task_group.Groups, made: list[task_group.TaskGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = TaskLimiter((SMALL,), "cpu", find_groups=lambda: groups)
    told, _ = run(limiter, monkeypatch, lambda *_: [bytearray(1 << 20) for _ in range(500)])
    assert told["exit"] == -signal.SIGKILL
    assert told["memory"]["own"]
    assert told["memory"]["limit"] == 64 << 20
    said = task_start.describe_memory_kill(told["memory"])
    assert "The limit of the task is 64 MiB, and it had 64 MiB at its peak" in said
    assert (told["used"]["memory"], told["used"]["kills"], told["used"]["is_group"]) == (64 << 20, 1, True)
    assert not [folder for one in made for folder in one.folders if folder.exists()], "nothing is left"


def test_a_task_that_uses_more_cpus_than_it_may_yields_while_it_runs(
    groups: task_group.Groups, made: list[task_group.TaskGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(*_: object) -> None:
        cpu = made[-1].cpu
        assert cpu
        end = time.monotonic() + PATIENCE_S
        while not (cpu.folder / "cpu.idle").read_text().startswith("1"):
            if time.monotonic() > end:
                os._exit(3)
        os._exit(0)

    greedy = LimitRule("greedy", limits=TaskLimits(cpus_high=0.1))
    if not (probe := groups.make(greedy.limits)).cpu or not (probe.cpu.folder / "cpu.idle").exists():
        probe.remove()
        pytest.skip("the kernel has no idle groups here: Linux 5.15 and the controller of CPUs")
    probe.remove()
    limiter = TaskLimiter((greedy,), "cpu", find_groups=lambda: groups)
    told, _ = run(limiter, monkeypatch, compute)
    assert told["exit"] == 0
    assert limiter.shares.due is None, "nothing is watched after its end"
    assert not [folder for one in made for folder in one.folders if folder.exists()], "nothing is left"


def test_processes_that_a_task_left_get_only_the_cpu_time_that_nobody_wants(tmp_path: Path) -> None:
    folder = tmp_path / "airfleet-task-1-1"
    folder.mkdir()
    # A folder with files stays, as a group does in which something runs.
    (folder / "cpu.idle").write_text("0")
    files = CpuFiles(folder, "cpu.weight", 100, 1, time=folder / "cpu.stat", refusals=folder / "pids.events")
    limits = TaskLimits(cpus_high=1.0)
    group = task_group.TaskGroup(limits, (folder,), "memory.events", "memory.peak", cpu=files)
    limiter = TaskLimiter((), "cpu", find_groups=lambda: None)
    limiter.begin(Confinement(limits, group), 100.0)
    limiter.end(Confinement(limits, group))
    assert (folder / "cpu.idle").read_text() == "1"
    assert limiter.shares.due is None


def test_a_task_that_is_killed_at_the_limit_of_its_pool_is_not_told_of_its_own(tmp_path: Path) -> None:
    folder, unit = tmp_path / "airfleet-task-1-1", tmp_path / "memory.max"
    folder.mkdir()
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 1\n")
    (folder / "memory.peak").write_text(f"{20 << 20}\n")
    unit.write_text(f"{2 << 30}\n")
    group = task_group.TaskGroup(SMALL.limits, (folder,), "memory.events", "memory.peak")
    limiter = TaskLimiter((SMALL,), "cpu", find_groups=lambda: None)
    counted = limiter.end(Confinement(SMALL.limits, group))
    told = describe_kills(counted, SMALL.limits, MemoryGroup(tmp_path / "memory.events", unit))
    said = task_start.describe_memory_kill(told)
    assert "The limit is 2048 MiB, for all processes of the worker together; the task had 20 MiB at its peak" in said


def test_a_limit_that_cannot_be_entered_is_told_and_the_task_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost:
        kind = "cgroup v2"

        def make(self, limits: TaskLimits) -> task_group.TaskGroup:
            return task_group.TaskGroup(limits, (Path("/no/such/group"),), "memory.events", "memory.peak")

    limiter = TaskLimiter((SMALL,), "cpu", find_groups=Lost)
    told, text = run(limiter, monkeypatch, lambda *_: os._exit(0))
    assert told["exit"] == 0
    assert "memory" not in told
    assert text.startswith("airfleet: the limits of this task are not in force: ")
