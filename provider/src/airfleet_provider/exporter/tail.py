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
    """How far a table was read: every row up to `low`, and above it the rows in `seen`."""

    low: int
    seen: set[int] = field(default_factory=set)
    # Moments of this process' clock, and the highest id that was seen then.
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def top(self) -> int:
        """Return the highest id that was read."""
        return max(self.seen, default=self.low)

    def choose_unread(self, ids: Iterable[int]) -> list[int]:
        """Return those of the ids that were not read yet, in their order."""
        return [one for one in ids if one > self.low and one not in self.seen]

    def note_read(self, ids: Iterable[int], now: float) -> None:
        """Record that rows were read. What was read long ago is no longer kept one by one."""
        self.seen.update(ids)
        self._marks.append((now, self.top))
        while self._marks and now - self._marks[0][0] >= OVERLAP_S:
            self.low = max(self.low, self._marks.popleft()[1])
        self.seen = {one for one in self.seen if one > self.low}

    def to_json(self) -> dict[str, Any]:
        return {"low": self.low, "seen": compress(self.seen)}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Tail:
        return cls(int(value["low"]), expand(value["seen"]))


def compress(ids: Iterable[int]) -> Ranges:
    """Return the ids as ranges: of each the first and the last."""
    ranges: Ranges = []
    for one in sorted(ids):
        if ranges and one == ranges[-1][1] + 1:
            ranges[-1][1] = one
        else:
            ranges.append([one, one])
    return ranges


def expand(ranges: Iterable[Iterable[int]]) -> set[int]:
    """Return the ids of ranges."""
    return {one for first, last in ranges for one in range(first, last + 1)}
