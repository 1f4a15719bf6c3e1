"""The limits of services, as `airfleet limit list` and the pages in Airflow's UI show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.service_limits import ServiceLimit
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "limit_list")


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """A limit of fleet.yaml, and what it does now: tasks that wait, that are active, and starts of the last minute."""

    name: str
    starts_per_minute: int | None = None
    at_once: int | None = None
    waiting: int = 0
    active: int = 0
    starts: int = 0
    held_until: datetime | None = None


def list_limits(query: Query, limits: Iterable[ServiceLimit]) -> tuple[LimitStatus, ...]:
    """Return these limits, which are those of fleet.yaml, in their order."""
    rows = {row["name"]: row for row in query(SQL["list"], {})}
    return tuple(
        LimitStatus(
            **{"name": one.name, **rows.get(one.name, {})}, starts_per_minute=one.starts_per_minute, at_once=one.at_once
        )
        for one in limits
    )
