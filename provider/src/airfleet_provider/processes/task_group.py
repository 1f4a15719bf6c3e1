"""A cgroup for each task, of version 2 or 1: its limits, and what the kernel counted for it (ADR 54).

Version 2 needs a unit that systemd delegates (`Delegate=`). Version 1 needs a writable folder. Where there is neither,
a limit on data (`RLIMIT_DATA`) takes the place of the limit on memory, and others are not in force.
"""

from __future__ import annotations

import errno
import itertools
import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from airfleet_provider.contract.task_limits import TaskLimits
from airfleet_provider.processes.cpu_share import CpuFiles, read_used_s
from airfleet_provider.processes.kernel_file import write
from airfleet_provider.processes.memory_group import LEAF, OWN, ROOT

# The beginning of the names of tasks' groups.
PREFIX = "airfleet-task-"
# The controllers of version 2, and those of version 1.
CONTROLLERS = ("memory", "pids", "cpu", "io")
FORMER_CONTROLLERS = ("memory", "pids", "cpu", "cpuacct", "blkio")
DISKS = Path("/sys/block")
# The weight of a task without one.
WEIGHT = 100
# What the worker and all tasks without a group of their own weigh together, against 100 of a task that has one.
LEAF_WEIGHT = 1000
# In version 1, a share of 1024 is that of a weight of 100.
SHARES_PER_WEIGHT = 10.24


@dataclass(frozen=True, slots=True)
class Counted:
    """What the kernel says of a task that has ended: how many of its processes it killed for memory, and the peak.

    `is_own` is false if not the limit of the task was reached, but that of the pool, or the memory of the host. `peak`
    is in bytes, and `cpu_s` is the time of all processes of the group; 0 if the kernel does not count it.
    """

    kills: int
    peak: int
    is_own: bool = True
    cpu_s: float = 0.0


class Groups(Protocol):
    """Makes the group of a task. `kind` says which version of cgroups it is."""

    kind: str

    def make(self, limits: TaskLimits) -> TaskGroup:
        """Make a group with these limits.

        Raises:
            OSError: The kernel refuses.
        """


@dataclass(slots=True)
class TaskGroup:
    """The group of one task: `folders` has one folder in version 2, and one for each controller in version 1."""

    limits: TaskLimits
    folders: tuple[Path, ...]
    kills_file: str
    peak_file: str
    # The limits for which the kernel has no controller here.
    missing: tuple[str, ...] = ()
    # Where it has `cpus_high`.
    cpu: CpuFiles | None = None

    def join(self) -> None:
        """Move this process into the group, and limit it.

        Raises:
            OSError: The kernel refuses.
        """
        for folder in self.folders:
            write(folder / "cgroup.procs", 0)

    def count(self) -> Counted:
        """Return what the kernel has counted, 0 for what it does not count."""
        kills = peak = 0
        is_own = self.limits.memory is not None
        with suppress(OSError, ValueError, IndexError):
            for line in (self.folders[0] / self.kills_file).read_text().splitlines():
                if line.startswith("oom_kill "):
                    kills = int(line.split()[1])
                # Version 2 counts here how often the limit of this group was reached, and not that of one above it.
                if line.startswith("oom "):
                    is_own = is_own and int(line.split()[1]) > 0
        with suppress(OSError, ValueError):
            peak = int((self.folders[0] / self.peak_file).read_text())
        # Version 2 counts this in every group; version 1 in groups of another controller.
        used_s = self.cpu.read_used_s() if self.cpu else read_used_s(self.folders[0] / "cpu.stat")
        return Counted(kills, peak, is_own, used_s)

    def remove(self) -> bool:
        """Remove the group, and return whether it has gone. It stays while a process that the task left runs in it."""
        for folder in self.folders:
            with suppress(FileNotFoundError):
                try:
                    folder.rmdir()
                except OSError:
                    return False
        return True


@dataclass(slots=True)
class VersionTwo:
    """Groups beside the leaf of the worker, in the group of its unit."""

    unit: Path
    names: Iterator[str]
    controllers: frozenset[str]
    disks: tuple[str, ...] = ()
    kind: str = "cgroup v2"

    def make(self, limits: TaskLimits) -> TaskGroup:
        """Make a group."""
        folder = _make_folder(self.unit, self.names)
        group = TaskGroup(limits, (folder,), "memory.events", "memory.peak")
        values: Mapping[str, int | None] = {
            "memory.max": limits.memory,
            "memory.high": limits.memory_high,
            "pids.max": limits.pids,
            "cpu.weight": limits.cpu_weight,
        }
        try:
            for name, value in values.items():
                if value is None:
                    continue
                if name.partition(".")[0] in self.controllers:
                    write(folder / name, value)
                else:
                    group.missing = (*group.missing, name)
            if limits.memory is not None:
                # Without these, the task swaps, and only one of its processes is killed.
                for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):
                    with suppress(OSError):
                        write(folder / name, value)
        except OSError:
            group.remove()
            raise
        if limits.disk_rate is not None:
            lines = [f"{disk} rbps={limits.disk_rate} wbps={limits.disk_rate}" for disk in self.disks]
            if "io" not in self.controllers or not _write_all((folder / "io.max", line) for line in lines):
                group.missing = (*group.missing, "disk_rate")
        if limits.cpus_high is not None:
            weight = WEIGHT if limits.cpu_weight is None else limits.cpu_weight
            if "cpu" in self.controllers:
                group.cpu = CpuFiles(
                    folder, "cpu.weight", weight, 1, time=folder / "cpu.stat", refusals=folder / "pids.events"
                )
            else:
                group.missing = (*group.missing, "cpus_high")
        return group


@dataclass(slots=True)
class VersionOne:
    """A group for each controller that a limit needs, below the groups of the worker."""

    parents: Mapping[str, Path]
    names: Iterator[str]
    disks: tuple[str, ...] = ()
    kind: str = "cgroup v1"

    def make(self, limits: TaskLimits) -> TaskGroup:
        """Make the groups."""
        group = TaskGroup(limits, (), "memory.oom_control", "memory.max_usage_in_bytes")
        try:
            self._fill(group, limits)
        except OSError:
            group.remove()
            raise
        return group

    def _fill(self, group: TaskGroup, limits: TaskLimits) -> None:
        weight = limits.cpu_weight if limits.cpu_weight is not None or limits.cpus_high is None else WEIGHT
        shares = None if weight is None else max(2, round(weight * SHARES_PER_WEIGHT))
        values: Mapping[str, Mapping[str, int | None]] = {
            "memory": {"memory.limit_in_bytes": limits.memory, "memory.soft_limit_in_bytes": limits.memory_high},
            "pids": {"pids.max": limits.pids},
            "cpu": {"cpu.shares": shares},
        }
        made: dict[str, Path] = {}
        for controller, files in values.items():
            wanted = {name: value for name, value in files.items() if value is not None}
            # The first counts, so it is always made.
            if controller != "memory" and not (wanted and controller in self.parents):
                group.missing = (*group.missing, *wanted)
                continue
            made[controller] = self._add(group, controller)
            for name, value in wanted.items():
                write(made[controller] / name, value)
        if limits.disk_rate is not None:
            files_of = ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device")
            lines = [(name, f"{disk} {limits.disk_rate}") for disk in self.disks for name in files_of]
            folder = self._add(group, "blkio") if "blkio" in self.parents else None
            if folder is None or not _write_all((folder / name, line) for name, line in lines):
                group.missing = (*group.missing, "disk_rate")
        if limits.cpus_high is not None:
            cpu, used = made.get("cpu"), made.get("cpu")
            # Most hosts have both in one tree.
            if cpu is not None and "cpuacct" in self.parents and not (cpu / "cpuacct.usage").exists():
                used = self._add(group, "cpuacct")
            if cpu is None or used is None or shares is None:
                group.missing = (*group.missing, "cpus_high")
                return
            refusals = made.get("pids", cpu) / "pids.events"
            group.cpu = CpuFiles(cpu, "cpu.shares", shares, 2, time=used / "cpuacct.usage", refusals=refusals)

    def _add(self, group: TaskGroup, controller: str) -> Path:
        folder = _make_folder(self.parents[controller], self.names)
        group.folders = (*group.folders, folder)
        return folder


def limit_data(limits: TaskLimits) -> None:
    """Limit the data of this process and of each of its children to `memory`, beside what it has already.

    A process that wants more gets a MemoryError. Raises OSError or ValueError where the system refuses.
    """
    if limits.memory is None:
        return
    own = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    most = own + limits.memory
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def name_groups(pid: int) -> Iterator[str]:
    """Yield names for the groups that a process makes."""
    return (f"{PREFIX}{pid}-{number}" for number in itertools.count(1))


def _write_all(lines: Iterable[tuple[Path, str]]) -> bool:
    """Write each line to its file, and return whether the limits are in force on every disk that is there.

    The others are written too: half of the limits is better than none.
    """
    taken = refused = 0
    for file, line in lines:
        try:
            write(file, line)
            taken += 1
        except OSError as error:
            # A disk that was removed since needs no limit.
            refused += error.errno not in (errno.ENODEV, errno.ENXIO)
    return bool(taken) and not refused


def list_disks(root: Path = DISKS) -> tuple[str, ...]:
    """Return the numbers of this host's disks, such as `8:0`. What lies on a disk, such as LVM, is counted there."""
    found = []
    with suppress(OSError):
        for disk in sorted(root.iterdir()):
            with suppress(OSError):
                # Loops and memory that looks like a disk are no devices.
                if (disk / "device").exists():
                    found.append((disk / "dev").read_text().strip())
    return tuple(found)


def _make_folder(parent: Path, names: Iterator[str]) -> Path:
    for name in names:
        folder = parent / name
        # A process with the same id may have left it, and something still runs in it.
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("names never end")


def prepare(own: Path = OWN, root: Path = ROOT, *, weighs_cpu: bool = False, limits_disk: bool = False) -> bool:
    """Make the unit's group of version 2 ready for groups of tasks, and return whether it is.

    With `weighs_cpu`, tasks may have a weight. Without it, all of them compete for CPUs as they did. With
    `limits_disk`, tasks may have a limit on what they read and write.
    Must be called by the unit's main process before it forks. A group that gives its controllers to others may hold no
    process, so this process moves into a leaf. Without a delegated group, nothing is changed.
    """
    unit = _find_unit(own, root)
    if unit is None:
        return False
    with suppress(OSError):
        parent = unit.parent if unit.name == LEAF else unit
        there = (parent / "cgroup.controllers").read_text().split()
        if "memory" not in there:
            return False
        if unit != parent / LEAF:
            unit = parent / LEAF
            unit.mkdir(exist_ok=True)
            for pid in (parent / "cgroup.procs").read_text().split():
                write(unit / "cgroup.procs", int(pid))
        left_out = {name for name, is_wanted in (("cpu", weighs_cpu), ("io", limits_disk)) if not is_wanted}
        for controller in CONTROLLERS:
            if controller in there and controller not in left_out:
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")
        if weighs_cpu and "cpu" in there:
            write(unit / "cpu.weight", LEAF_WEIGHT)
        return True
    return False


def find_groups(own: Path = OWN, root: Path = ROOT, pid: int | None = None, disks: Path = DISKS) -> Groups | None:
    """Return how this process makes groups of tasks, or None if it cannot. Removes what ended processes left."""
    names = name_groups(os.getpid() if pid is None else pid)
    unit = _find_unit(own, root)
    if unit is not None and unit.name == LEAF:
        with suppress(OSError):
            controllers = frozenset((unit.parent / "cgroup.subtree_control").read_text().split())
            if "memory" in controllers:
                sweep(unit.parent)
                return VersionTwo(unit.parent, names, controllers, list_disks(disks))
    parents = {name: path for name, path in _list_version_one(own, root) if os.access(path, os.W_OK)}
    if (parents.get("memory", root) / "memory.limit_in_bytes").is_file():
        for parent in parents.values():
            sweep(parent)
        return VersionOne(parents, names, list_disks(disks))
    return None


def sweep(parent: Path) -> None:
    """Remove the groups of tasks in which nothing runs any more."""
    for folder in parent.glob(f"{PREFIX}*"):
        # A group whose task is about to join belongs to a process that lives.
        if not Path("/proc", folder.name.removeprefix(PREFIX).partition("-")[0]).exists():
            with suppress(OSError):
                folder.rmdir()


def _find_unit(own: Path, root: Path) -> Path | None:
    """Return this process's group of version 2, if it may make others there."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            if line.startswith("0::"):
                folder = root / line.removeprefix("0::").lstrip("/")
                place = folder.parent if folder.name == LEAF else folder
                # The group of all processes is no unit's. Of a unit's own, systemd gives its user what is delegated.
                if folder != root and (folder / "cgroup.procs").is_file() and os.access(place, os.W_OK):
                    return folder
    return None


def _list_version_one(own: Path, root: Path) -> Iterator[tuple[str, Path]]:
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, names, path = line.split(":", 2)
            for name in names.split(","):
                if name in FORMER_CONTROLLERS:
                    yield name, root / name / path.lstrip("/")


@dataclass(slots=True)
class Leftovers:
    """Groups whose tasks have ended, and in which processes that they left still run."""

    kept: list[TaskGroup] = field(default_factory=list)

    def remove(self, group: TaskGroup) -> bool:
        """Remove a group, and those before it that are empty by now. Return whether the group has gone."""
        self.kept = [one for one in (*self.kept, group) if not one.remove()]
        return group not in self.kept
