"""What tells a process from every other one of its host: its number is used again, its start and the boot are not."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")


def read_boot() -> str:
    """Return the name of this boot of the kernel. Containers on one kernel share it, but not their pids."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def read_start(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])
