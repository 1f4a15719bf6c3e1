"""Cron lines, as far as it takes to say how often one fires."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(\*|\d+)(?:-(\d+))?(?:/(\d+))?")


@dataclass(frozen=True, slots=True)
class Cron:
    """When a cron line fires; days are None where every day does."""

    runs_a_day: int
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None

    def never_fires(self) -> bool:
        """Whether no month has the day, such as the 30th of February."""
        if self.days is None or self.weekdays is not None:
            return False
        return not any(min(self.days) <= _LONGEST[month - 1] for month in self.months)

    def fires_on(self, day: date) -> bool:
        """Whether it fires on a day; with a day and a weekday either is enough, as in every cron."""
        if day.month not in self.months:
            return False
        checks = [
            part
            for limit, part in (
                (self.days, self.days is not None and day.day in self.days),
                (self.weekdays, self.weekdays is not None and day.isoweekday() % 7 in self.weekdays),
            )
            if limit is not None
        ]
        return any(checks) if checks else True

    def count(self, first: date, last: date, *, limit: int) -> int:
        """About how many runs there are between two days; it stops counting over the limit."""
        runs = 0
        while first < last and runs <= limit:
            runs += self.runs_a_day if self.fires_on(first) else 0
            first += timedelta(days=1)
        return runs


def read(line: str) -> Cron | None:
    """The schedule of a line of five plain fields; None for anything cleverer, such as `L` or seconds."""
    fields = line.lower().split()
    if len(fields) != 5:
        return None
    minutes = _field(fields[0], 0, 59, ())
    hours = _field(fields[1], 0, 23, ())
    days = _field(fields[2], 1, 31, ())
    months = _field(fields[3], 1, 12, _MONTHS)
    weekdays = _field(fields[4], 0, 7, _WEEKDAYS)
    if minutes is None or hours is None or days is None or months is None or weekdays is None:
        return None
    return Cron(
        runs_a_day=len(minutes) * len(hours),
        days=None if fields[2] in ("*", "?") else days,
        months=months,
        weekdays=None if fields[4] in ("*", "?") else frozenset(day % 7 for day in weekdays),
    )


def _field(text: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int] | None:
    for offset, name in enumerate(names):
        text = text.replace(name, str(offset + low))
    found: set[int] = set()
    for part in text.replace("?", "*").split(","):
        match = _PART.fullmatch(part)
        if not match or match[3] == "0":
            return None
        first = low if match[1] == "*" else int(match[1])
        has_end = match[1] == "*" or match[3]
        last = int(match[2]) if match[2] else high if has_end else first
        if not low <= first <= last <= high:
            return None
        found.update(range(first, last + 1, int(match[3] or 1)))
    return frozenset(found)
