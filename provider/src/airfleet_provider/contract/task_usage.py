"""What one process of an attempt used, as its supervisor reports it to the API of tasks (ADR 72). No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Where a supervisor reports, below the address of the execution API, and how the API sees that path.
REPORT_TO = "airfleet/usage"
REPORTED_AT = f"/execution/{REPORT_TO}"
# A row is kept for so many days, if its run is not deleted before.
KEPT_DAYS = 90


@dataclass(frozen=True, slots=True)
class TaskUsage:
    """What the processes of a task used. None is what nobody measured.

    `memory` is the peak in bytes: that of the task's cgroup where `is_group` says so, else that of its largest process,
    with what this shared with its warm process. `read` and `written` are bytes that went from and to disks.
    `memory_limit` is the limit of the task alone. `kills` counts processes that the kernel killed for want of memory.
    """

    cpu_s: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    read: int | None = None
    written: int | None = None
    kills: int = 0
    is_group: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the usage as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}
