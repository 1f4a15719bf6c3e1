"""A clock that is made up, for what takes its clock and its pauses from outside.

tests/unit/test_clock_contract.py holds it to what this machine's clock does.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class MadeUpClock:
    """Seconds that pass when somebody pauses, when a test sets `now`, and by `reading_s` at each reading."""

    now: float = 0.0
    reading_s: float = 0.0
    slept: list[float] = field(default_factory=list)  # every pause, to the millisecond

    def __call__(self) -> float:
        """The time in seconds."""
        said = self.now
        self.now += self.reading_s
        return said

    def sleep(self, seconds: float) -> None:
        """Let this time pass at once. Raises ValueError where it is negative, as `time.sleep` does."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.slept.append(round(seconds, 3))
        self.now += seconds
