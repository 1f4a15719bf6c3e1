"""The end of a table with growing ids, of which each row is read once although transactions end in another order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# A row that is visible this much later than rows with higher ids is missed. The longest transactions of Airflow that
# write such rows take a few seconds.
OVERLAP_S = 60.0

Ranges = list[list[int]]


@dataclass(slots=True)
class Tail:
    """How far a table was read: every row up to `low`, and above it the rows with ids in the ranges of `seen`."""

    low: int
    seen: Ranges = field(default_factory=list)
    # Moments of this process' clock, and the highest id that was seen then.
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def top(self) -> int:
        """Return the highest id that was read."""
        return self.seen[-1][1] if self.seen else self.low

    def list_gaps(self) -> Ranges:
        """Return the ids up to `top` that were not read: rows of transactions that may end later, or of none."""
        gaps: Ranges = []
        expected = self.low + 1
        for first, last in self.seen:
            if first > expected:
                gaps.append([expected, first - 1])
            expected = last + 1
        return gaps

    def note_read(self, ids: Iterable[int], now: float) -> None:
        """Record that rows were read. What was read long ago is no longer kept."""
        self.seen = join([*self.seen, *compress(ids)])
        self._marks.append((now, self.top))
        while self._marks and now - self._marks[0][0] >= OVERLAP_S:
            self.low = max(self.low, self._marks.popleft()[1])
        self.seen = [[max(first, self.low + 1), last] for first, last in self.seen if last > self.low]

    def to_json(self) -> dict[str, Any]:
        return {"low": self.low, "seen": self.seen}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Tail:
        return cls(int(value["low"]), join(value["seen"]))


def join(ranges: Iterable[list[int]]) -> Ranges:
    """Return the same ids as ranges in their order, of which no two touch."""
    joined: Ranges = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], last)
        else:
            joined.append([first, last])
    return joined


def compress(ids: Iterable[int]) -> Ranges:
    """Return the ids as ranges: of each the first and the last."""
    return join([one, one] for one in ids)


def expand(ranges: Iterable[Iterable[int]]) -> set[int]:
    """Return the ids of ranges."""
    return {one for first, last in ranges for one in range(first, last + 1)}
