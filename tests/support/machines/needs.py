"""Checks whether this box can run machines."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from machines import groups
from machines.system import find_home

_COMMANDS = (
    "systemd-nspawn", "journalctl", "debootstrap", "nft", "ip", "nsenter", "mkfs.ext4", "ssh", "ssh-keygen",
)  # fmt: skip
_FREE_GIB = 4


def why_not() -> str:
    """Return the first reason why no machine can run here, or an empty text if machines can run."""
    if os.geteuid():
        return "it takes root"
    missing = [name for name in _COMMANDS if not shutil.which(name)]
    if missing:
        return f"not installed: {', '.join(missing)} (tools/machines installs them)"
    if not Path("/dev/loop-control").exists():
        return "no loop devices"
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        return "the kernel has no overlay file system"
    if groups.find_unified() is None:
        return "no cgroup2 tree is mounted"
    home = find_home()
    there = next(one for one in (home, *home.parents) if one.exists())
    if shutil.disk_usage(there).free < _FREE_GIB << 30:
        return f"less than {_FREE_GIB} GiB free in {there}"
    return ""
