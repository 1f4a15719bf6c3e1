"""Control groups: how a machine's processes are found, frozen and killed at once, and limited by its own systemd."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from machines.system import MachineError, wait

_LIMITING = ("cpu", "cpuacct", "memory", "pids", "blkio")


def find_unified() -> Path | None:
    """Where the second version's tree is mounted, alone or beside the first version's."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(point)
    return None


def find_legacy() -> tuple[Path, ...]:
    """The mounted trees of the first version whose limits a machine's systemd sets, and systemd's own."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        names = options.split(",")
        if kind == "cgroup" and (set(names) & set(_LIMITING) or "name=systemd" in names):
            found.append(Path(point))
    return tuple(dict.fromkeys(found))


def make_groups(bed: str, machine: str) -> tuple[Path, ...]:
    """A group for one machine in every tree, the second version's first."""
    unified = find_unified()
    if unified is None:
        raise MachineError("no cgroup2 tree is mounted here")
    made = [tree / f"airfleet-{bed}" / machine for tree in (unified, *find_legacy())]
    for group in made:
        group.mkdir(parents=True, exist_ok=True)
    for above in (unified, unified / f"airfleet-{bed}"):
        for controller in (above / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):
                (above / "cgroup.subtree_control").write_text(f"+{controller}")
    return tuple(made)


def group_of(bed: str, machine: str) -> Path:
    """The machine's group in the second version's tree."""
    unified = find_unified()
    if unified is None:
        raise MachineError("no cgroup2 tree is mounted here")
    return unified / f"airfleet-{bed}" / machine


def members(group: Path) -> list[int]:
    """Every process in a group and below it; groups that end meanwhile have none."""
    pids: list[int] = []
    for folder, _, _ in os.walk(group):  # unlike `rglob`, it passes over a folder that has just gone
        with contextlib.suppress(OSError):
            pids += map(int, Path(folder, "cgroup.procs").read_text().split())
    return pids


def freeze(group: Path, *, frozen: bool) -> None:
    """Freeze or thaw all processes together; return when it is done."""
    (group / "cgroup.freeze").write_text("1" if frozen else "0")
    wait(lambda: f"frozen {int(frozen)}" in (group / "cgroup.events").read_text(), f"{group} frozen: {frozen}")


def kill(group: Path) -> None:
    """SIGKILL for all processes in a group at once, frozen ones too; returns when none is left."""
    if group.exists():
        (group / "cgroup.kill").write_text("1")
        wait(lambda: "populated 0" in (group / "cgroup.events").read_text(), f"the end of all in {group}")


def remove_groups(bed: str) -> None:
    """Take the bed's empty groups away from every tree."""
    unified = find_unified()
    for tree in (*((unified,) if unified else ()), *find_legacy()):
        top = tree / f"airfleet-{bed}"
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
