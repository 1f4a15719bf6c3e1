"""The circuit breakers of a platform, as `airfleet breaker list` and the pages in Airflow's UI show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from airfleet_provider.contract.breaker_rules import BreakerState
from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "breaker_list")


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker. `probe_at` is None while it is closed, and if only a person closes it."""

    name: str
    state: BreakerState
    generation: int = 0
    changed_at: datetime | None = None
    opened_at: datetime | None = None
    probe_at: datetime | None = None
    wave: int = 0
    waiting: int = 0
    reason: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class BreakerEvent:
    """A change of a breaker, and who or what made it."""

    breaker: str
    happened_at: datetime
    state: str
    wave: int
    reason: str
    actor: str


def list_breakers(query: Query, names: Iterable[str]) -> tuple[Breaker, ...]:
    """Return the breakers with these names, which are those of fleet.yaml, and others that keep tasks."""
    found = {row["name"]: Breaker(**{**row, "state": BreakerState(row["state"])}) for row in query(SQL["list"], {})}
    named = [found.pop(name, Breaker(name, BreakerState.CLOSED)) for name in names]
    return (*named, *(one for one in found.values() if one.state is not BreakerState.CLOSED))


def list_events(query: Query, name: str | None, *, limit: int) -> tuple[BreakerEvent, ...]:
    """Return the last changes of one breaker, or of all, the newest first."""
    return tuple(BreakerEvent(**row) for row in query(SQL["events"], {"name": name, "limit": limit}))
