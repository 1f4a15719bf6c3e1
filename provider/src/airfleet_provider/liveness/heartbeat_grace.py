"""When a missing heartbeat means that a task is dead: only if the task could have reported all the time.

No I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

# Checks are due every 5 s. After a longer gap the scheduler itself was stopped, or had no database.
LONGEST_BLINK_S = 15.0


@dataclass(frozen=True, slots=True)
class HeartbeatGrace:
    """Since when tasks could report without a break, as one scheduler saw it."""

    since: float | None = None
    looked: float | None = None

    def look(self, now: float, *, could_report: bool) -> HeartbeatGrace:
        """Return the state after a check of the path from tasks to the database."""
        unbroken = self.looked is not None and now - self.looked <= LONGEST_BLINK_S
        if not could_report:
            return HeartbeatGrace(None, now)
        return HeartbeatGrace(self.since if unbroken and self.since is not None else now, now)

    def is_over(self, now: float, timeout_s: float) -> bool:
        """Return whether tasks could report without a break for the last `timeout_s` seconds."""
        return self.since is not None and now - self.since >= timeout_s
