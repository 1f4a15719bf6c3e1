"""When silence of a task means that it is dead: only after it could have spoken all the time. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass

# Looks are due every five seconds; whoever looked less often was itself stopped, or without its database.
LONGEST_BLINK_S = 15.0


@dataclass(frozen=True, slots=True)
class HeartbeatGrace:
    """Since when tasks could report without a break, as one scheduler saw it."""

    since: float | None = None
    looked: float | None = None

    def look(self, now: float, *, could_report: bool) -> HeartbeatGrace:
        """What is known after a look at the way from tasks to the database."""
        unbroken = self.looked is not None and now - self.looked <= LONGEST_BLINK_S
        if not could_report:
            return HeartbeatGrace(None, now)
        return HeartbeatGrace(self.since if unbroken and self.since is not None else now, now)

    def is_over(self, now: float, timeout_s: float) -> bool:
        """Whether a task that was silent for the time-out had a way to speak for all of it."""
        return self.since is not None and now - self.since >= timeout_s
