"""What a check says about a release."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from airfleet.releases.checks.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong in a release, where, and what to do about it."""

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
        """Findings are read file by file, from the top."""
        return self.path, self.line, self.check, self.what


@dataclass(frozen=True, slots=True)
class Caught:
    """One thing a check caught, before anyone said how bad that is; a minor one is never an error."""

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
    find: Callable[[Inputs], Iterable[Caught]]
