"""The part of a month that is loaded at once: the flights of one airport of origin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FLIGHT_COLUMNS = (
    "month", "origin", "flight_date", "carrier", "flight", "sched_dep_time", "dest", "tailnum", "status",
    "dep_time", "dep_delay", "sched_arr_time", "arr_time", "arr_delay", "air_time", "distance",
    "scheduled_hour", "line",
)  # fmt: skip
QUARANTINE_COLUMNS = ("month", "origin", "line", "reason", "record")


@dataclass(frozen=True)
class Partition:
    """One part of a month, staged as two CSV files; small enough for an XCom, which the rows are not."""

    month: str
    origin: str
    accepted: int
    rejected: int

    @property
    def rows(self) -> int:
        return self.accepted + self.rejected

    def flights_file(self, staging: Path) -> Path:
        return staging / self.month / f"{self.origin}.flights.csv"

    def quarantine_file(self, staging: Path) -> Path:
        return staging / self.month / f"{self.origin}.quarantine.csv"
