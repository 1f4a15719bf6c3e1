"""The findings of checks, and what a check is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from airfleet.releases.checks.inputs import CheckInputs


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of a release, with its place, its level and a hint. Lines count from 1."""

    check: str
    level: Literal["error", "warning"]
    path: str
    line: int
    dag_id: str | None
    task_id: str | None
    what: str
    hint: str

    @property
    def order(self) -> tuple[str, int, str, str]:
        """Return the sort key: findings are shown by file, and in a file from the top."""
        return self.path, self.line, self.check, self.what


@dataclass(frozen=True, slots=True)
class Caught:
    """One problem that a check found, before it has a level. A minor problem is never an error."""

    path: str
    line: int
    what: str
    hint: str
    dag_id: str | None = None
    task_id: str | None = None
    is_minor: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, what it guarantees, and an example of what it catches."""

    name: str
    description: str
    example: str
    find: Callable[[CheckInputs], Iterable[Caught]]
