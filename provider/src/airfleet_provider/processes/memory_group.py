"""The cgroup that limits the memory of this process, and how often the kernel has killed in it for want of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from airfleet_provider.processes import kernel_file

OWN, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# The name of the group of a worker's processes below that of its unit, where the unit has groups of tasks.
LEAF = "airfleet-worker"
# The kernel writes a limit near 2**63 where version 1 has none.
NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A cgroup of version 1 or 2. All processes of a worker are in one."""

    # The file with a line `oom_kill N`, and the file with the limit in bytes.
    events: Path
    limit: Path

    def count_kills(self) -> int:
        """Return how many processes of the group the kernel has killed for want of memory; 0 if it does not say."""
        with suppress(OSError, ValueError, IndexError):
            for line in kernel_file.read(self.events).splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def read_limit(self) -> int | None:
        """Return the limit of the group in bytes, or None if it has none."""
        with suppress(OSError, ValueError):
            limit = int(self.limit.read_text())
            return limit if limit < NO_LIMIT else None
        return None


def find_group(own: Path = OWN, root: Path = ROOT) -> MemoryGroup | None:
    """Return the group of this process, or None where the kernel shows none."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    return next((one for one in _list_groups(lines, root) if one.events.is_file()), None)


def _list_groups(lines: list[str], root: Path) -> Iterator[MemoryGroup]:
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if "memory" in controllers.split(","):
            folder = root / "memory" / inside
            yield MemoryGroup(folder / "memory.oom_control", folder / "memory.limit_in_bytes")
        elif not controllers:
            for tree in (root, root / "unified"):
                folder = tree / inside
                # The limit is that of the unit, above the leaf into which a worker moves (`task_group.prepare`).
                limited = folder.parent if folder.name == LEAF else folder
                yield MemoryGroup(folder / "memory.events", limited / "memory.max")
