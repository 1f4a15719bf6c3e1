"""What an assessment finds in the code of Airflow 2, and how much work it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Handling(StrEnum):
    """Who does what about a finding."""

    BROKEN = "broken"  # it fails under Airflow 3.3, and a person must change it
    MOVED = "moved"  # it does nothing under Airflow 3.3, and an entry of the new fleet.yaml does it
    REWRITTEN = "rewritten"  # the diff has the change
    REVIEW = "review"  # it works, and may mean something else than before


# Minutes of a person for one finding, without waiting and without the roll-out. These are estimates of ours: they rank
# Dags by effort. Findings of one rule in one file cost the first in full, and each further one a quarter.
MINUTES = {Handling.BROKEN: 30, Handling.MOVED: 10, Handling.REWRITTEN: 1, Handling.REVIEW: 5}
FURTHER = 4
# Every Dag is read, run once, and its output is looked at.
MINUTES_PER_DAG = 15


@dataclass(frozen=True, slots=True)
class MigrationFinding:
    """One place in the code of Airflow 2. `why` says what Airflow 3.3 does there, `action` what to do.

    Lines count from 1. `rule` is a rule of ruff's, such as AIR301, or one of `source_rules`.
    """

    path: str
    line: int
    rule: str
    verdict: Handling
    what: str
    why: str
    action: str
    minutes: int = 0

    @property
    def order(self) -> tuple[str, int, str, str]:
        """Return the sort key: by file, and in a file from the top."""
        return self.path, self.line, self.rule, self.what

    @property
    def cost(self) -> int:
        """Return the minutes that one finding of this kind costs alone."""
        return self.minutes or MINUTES[self.verdict]


def estimate(findings: tuple[MigrationFinding, ...]) -> int:
    """Return the minutes for findings: the first of a rule in a file costs in full, each further one a quarter."""
    seen: set[tuple[str, str, str]] = set()
    total = 0.0
    for one in findings:
        key = (one.path, one.rule, one.verdict)
        total += one.cost / FURTHER if key in seen else one.cost
        seen.add(key)
    return round(total)
