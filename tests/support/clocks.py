"""A made-up clock, for code that gets its clock and its pauses from its caller.

tests/unit/test_clock_contract.py holds it to what this machine's clock does.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class MadeUpClock:
    """A clock that advances when a caller sleeps, when a test sets `now`, and by `reading_s` at each reading."""

    now: float = 0.0
    reading_s: float = 0.0
    slept: list[float] = field(default_factory=list)  # every pause, to the millisecond

    def __call__(self) -> float:
        """The time in seconds."""
        said = self.now
        self.now += self.reading_s
        return said

    def sleep(self, seconds: float) -> None:
        """Advance the clock at once. Raises ValueError for a negative time, as `time.sleep` does."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.slept.append(round(seconds, 3))
        self.now += seconds
