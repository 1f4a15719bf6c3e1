"""Cgroups of tasks: the files of both versions as a kernel would have them, and this machine's own where it has any."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from airfleet_provider.contract.task_limits import TaskLimits
from airfleet_provider.processes import task_group
from airfleet_provider.processes.memory_group import LEAF
from airfleet_provider.processes.task_group import Leftovers, TaskGroup, VersionOne, VersionTwo, find_groups

LIMITS = TaskLimits(memory=64 << 20, memory_high=48 << 20, cpu_weight=50, pids=20)
UNIT = "system.slice/airfleet-worker-cpu.service"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_delegated_unit_of_version_two_moves_its_processes_into_a_leaf_and_makes_groups_beside_it(
    tmp_path: Path,
) -> None:
    unit, own = tmp_path / "tree" / UNIT, tmp_path / "own"
    write(own, f"0::/{UNIT}\n")
    write(unit / "cgroup.procs", "41\n")
    write(unit / "cgroup.controllers", "cpu memory pids\n")
    (unit / LEAF).mkdir()
    assert task_group.prepare(own, tmp_path / "tree", weighs_cpu=True)
    assert (unit / LEAF / "cgroup.procs").read_text() == "41"
    assert (unit / "cgroup.subtree_control").read_text() == "+cpu", (
        "a kernel adds what is written; a file keeps the last"
    )

    assert (unit / LEAF / "cpu.weight").read_text() == "1000"
    write(unit / "cgroup.controllers", "io\n")
    assert not task_group.prepare(own, tmp_path / "tree", limits_disk=True), "it has no memory controller any more"
    write(unit / "cgroup.controllers", "memory io\n")
    assert task_group.prepare(own, tmp_path / "tree")
    assert (unit / "cgroup.subtree_control").read_text() == "+memory", "no task has a limit on the disk"
    assert task_group.prepare(own, tmp_path / "tree", limits_disk=True)
    assert (unit / "cgroup.subtree_control").read_text() == "+io"
    write(own, f"0::/{UNIT}/{LEAF}\n")
    write(unit / "cgroup.subtree_control", "cpu memory pids\n")
    groups = find_groups(own, tmp_path / "tree", pid=41)
    assert isinstance(groups, VersionTwo)
    group = groups.make(LIMITS)
    [folder] = group.folders
    assert folder == unit / "airfleet-task-41-1"
    said = {name: (folder / name).read_text() for name in ("memory.max", "memory.high", "cpu.weight", "pids.max")}
    assert said == {
        "memory.max": str(64 << 20),
        "memory.high": str(48 << 20),
        "cpu.weight": "50",
        "pids.max": "20",
    }
    assert (folder / "memory.oom.group").read_text() == "1"
    assert groups.make(LIMITS).folders[0].name == "airfleet-task-41-2"
    write(folder / "memory.events", "low 0\nhigh 7\nmax 3\noom 1\noom_kill 1\n")
    write(folder / "memory.peak", f"{60 << 20}\n")
    write(folder / "cpu.stat", "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    assert group.count() == task_group.Counted(1, 60 << 20, cpu_s=2.5)
    assert group.missing == ()
    write(unit / "cgroup.subtree_control", "memory\n")
    fewer = find_groups(own, tmp_path / "tree", pid=42)
    assert fewer
    assert fewer.make(LIMITS).missing == ("pids.max", "cpu.weight"), "the limit on memory holds without the others"


def test_a_unit_that_is_not_delegated_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit, own = tmp_path / "tree" / UNIT, tmp_path / "own"
    write(own, f"0::/{UNIT}\n")
    write(unit / "cgroup.procs", "41\n")
    write(unit / "cgroup.controllers", "cpu pids\n")
    assert not task_group.prepare(own, tmp_path / "tree"), "it has no memory controller"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert not task_group.prepare(own, tmp_path / "tree")
    assert find_groups(own, tmp_path / "tree") is None


def test_version_one_makes_a_group_for_each_controller_that_is_needed(tmp_path: Path) -> None:
    own, tree = tmp_path / "own", tmp_path / "tree"
    write(own, "4:memory:/a\n8:pids:/b\n1:cpu,cpuacct:/\n0::/\n")
    write(tree / "memory" / "a" / "memory.limit_in_bytes", "1\n")
    for folder in ("pids/b", "cpu"):
        (tree / folder).mkdir(parents=True)
    groups = find_groups(own, tree, pid=41)
    assert isinstance(groups, VersionOne)
    group = groups.make(LIMITS)
    names = [str(folder.relative_to(tree)) for folder in group.folders]
    assert names == ["memory/a/airfleet-task-41-1", "pids/b/airfleet-task-41-2", "cpu/airfleet-task-41-3"]
    assert (group.folders[0] / "memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (group.folders[2] / "cpu.shares").read_text() == "512"
    [alone] = groups.make(TaskLimits(memory=64 << 20)).folders
    assert alone.parent == tree / "memory" / "a"


def test_limits_on_cpus_and_disks_have_their_controllers_or_are_said_to_be_missing(tmp_path: Path) -> None:
    own, tree, disks = tmp_path / "own", tmp_path / "tree", tmp_path / "disks"
    write(disks / "loop0" / "dev", "7:0\n")
    write(disks / "vda" / "dev", "254:0\n")
    (disks / "vda" / "device").mkdir()
    wanted = TaskLimits(cpus_high=1.5, disk_rate=20 << 20, pids=20)
    unit = tree / UNIT
    write(own, f"0::/{UNIT}/{LEAF}\n")
    write(unit / LEAF / "cgroup.procs", "41\n")
    write(unit / "cgroup.subtree_control", "cpu io memory pids\n")
    group = find_groups(own, tree, 41, disks).make(wanted)  # type: ignore[union-attr]
    assert (group.folders[0] / "io.max").read_text() == f"254:0 rbps={20 << 20} wbps={20 << 20}"
    assert group.cpu
    assert (group.cpu.folder, group.cpu.weight, group.missing) == (group.folders[0], 100, ())
    write(unit / "cgroup.subtree_control", "memory pids\n")
    assert find_groups(own, tree, 42, disks).make(wanted).missing == ("disk_rate", "cpus_high")  # type: ignore[union-attr]
    write(unit / "cgroup.subtree_control", "cpu io memory pids\n")
    none = find_groups(own, tree, 43, tmp_path / "nothing")
    assert none
    assert none.make(wanted).missing == ("disk_rate",), "a host without disks of its own"


@pytest.mark.parametrize(
    ("number", "is_in_force"), [(errno.EOPNOTSUPP, False), (errno.ENODEV, True)], ids=["refused", "removed"]
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_rate_is_in_force_if_every_disk_that_is_there_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, number: int, is_in_force: bool
) -> None:
    own, tree, disks = tmp_path / "own", tmp_path / "tree", tmp_path / "disks"
    for name, device in (("sda", "8:0"), ("sr0", "11:0")):
        (disks / name / "device").mkdir(parents=True)
        write(disks / name / "dev", f"{device}\n")
    if version == 2:
        unit = tree / UNIT
        write(own, f"0::/{UNIT}/{LEAF}\n")
        write(unit / LEAF / "cgroup.procs", "41\n")
        write(unit / "cgroup.subtree_control", "cpu io memory pids\n")
    else:
        write(own, "4:memory:/\n7:blkio:/\n")
        write(tree / "memory" / "memory.limit_in_bytes", "1\n")
        (tree / "blkio").mkdir()
    written = []

    def write_unless_refused(file: Path, text: str | int) -> None:
        if str(text).startswith("11:0"):
            raise OSError(number, "no limits here")
        written.append(str(text).split()[0])

    groups = find_groups(own, tree, 41, disks)
    assert groups
    monkeypatch.setattr(task_group, "write", write_unless_refused)
    missing = groups.make(TaskLimits(disk_rate=1 << 20)).missing
    assert (missing, "8:0" in written) == (() if is_in_force else ("disk_rate",), True)


@pytest.mark.parametrize("is_joint", [True, False])
def test_version_one_counts_cpus_in_the_tree_that_has_the_counter(tmp_path: Path, is_joint: bool) -> None:
    own, tree, disks = tmp_path / "own", tmp_path / "tree", tmp_path / "disks"
    write(own, "4:memory:/\n8:pids:/\n1:cpu,cpuacct:/\n7:blkio:/\n")
    write(tree / "memory" / "memory.limit_in_bytes", "1\n")
    write(disks / "sda" / "dev", "8:0\n")
    (disks / "sda" / "device").mkdir()
    for name in ("pids", "cpu", "cpuacct", "blkio"):
        (tree / name).mkdir()
    groups = find_groups(own, tree, 41, disks)
    assert groups
    made = Path.mkdir

    # A kernel fills each new folder of the tree.
    def make_folder(self: Path, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of Path
        if self.parent == tree / "cpu" and is_joint:
            made(self)
            (self / "cpuacct.usage").write_text("2500000000\n")
        else:
            made(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", make_folder)
        group = groups.make(TaskLimits(cpus_high=1, disk_rate=1 << 20))
    kinds = [folder.parent.name for folder in group.folders]
    assert kinds == ["memory", "cpu", "blkio", *([] if is_joint else ["cpuacct"])]
    assert (group.folders[1] / "cpu.shares").read_text() == "1024"
    assert (group.folders[2] / "blkio.throttle.write_bps_device").read_text() == f"8:0 {1 << 20}"
    assert group.missing == ()
    assert group.cpu
    assert group.cpu.time.parent == group.folders[1 if is_joint else 3]
    if is_joint:
        assert group.count().cpu_s == 2.5


def test_groups_that_a_dead_process_left_are_swept_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    own = tmp_path / "airfleet-task-1-1"
    own.mkdir()
    dead = tmp_path / f"airfleet-task-{1 << 30}-1"
    dead.mkdir()
    task_group.sweep(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["airfleet-task-1-1"]


def test_a_group_in_which_something_still_runs_goes_later(tmp_path: Path) -> None:
    busy, calm = tmp_path / "busy", tmp_path / "calm"
    write(busy / "process", "as a process of the kernel's would, a file keeps the folder")
    calm.mkdir()
    left = Leftovers()
    left.remove(TaskGroup(LIMITS, (busy,), "", ""))
    assert busy.exists()
    (busy / "process").unlink()
    left.remove(TaskGroup(LIMITS, (calm,), "", ""))
    assert not busy.exists()
    assert not calm.exists()
    assert left.kept == []


def fork(body: object) -> int:
    """Return how a process ends that runs the body: its exit code, or minus the number of a signal."""
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            code = 0 if body() is None else 1  # type: ignore[operator]
        except MemoryError:
            code = 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_kernel_of_this_machine_kills_a_task_at_its_limit_and_says_so() -> None:
    groups = find_groups()
    if groups is None:
        pytest.skip("no cgroup can be made here")
    group = groups.make(TaskLimits(memory=64 << 20))

    def eat() -> None:
        group.join()
        _ = [bytearray(1 << 20) for _ in range(500)]

    try:
        assert fork(eat) == -signal.SIGKILL
        counted = group.count()
    finally:
        assert group.remove()
    assert counted.kills == 1
    assert 48 << 20 < counted.peak <= 64 << 20


def test_without_a_cgroup_a_limit_on_data_makes_a_memory_error() -> None:
    def eat() -> None:
        task_group.limit_data(TaskLimits(memory=64 << 20))
        bytearray(16 << 20)
        bytearray(500 << 20)

    assert fork(eat) == 2
