"""The circuit breakers of a platform, as a person sees and moves them. Everything is rows of the metadata database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from airfleet.errors import UsageError
from airfleet.operations import metadata_database
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_project, read_fleet
from airfleet_provider.contract import breaker_list
from airfleet_provider.contract.breaker_list import Breaker, BreakerEvent
from airfleet_provider.contract.breaker_rules import BreakerState
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "breakers")


class Breakers:
    """The breakers over one connection.

    Raises:
        AirfleetError: From every method, if the database does not answer.
    """

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], fleet: Fleet) -> None:
        self._connection = connection
        self._fleet = fleet

    def list_breakers(self) -> tuple[Breaker, ...]:
        """Return the breakers of fleet.yaml, and those that it no longer names and that keep tasks."""
        return breaker_list.list_breakers(self._query, [rule.name for rule in self._fleet.breakers])

    def list_events(self, name: str | None, *, limit: int) -> tuple[BreakerEvent, ...]:
        """Return the last changes of one breaker, or of all, the newest first."""
        return breaker_list.list_events(self._query, name, limit=limit)

    def _query(self, statement: LiteralString, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return self._connection.execute(statement, values).fetchall()

    def move(self, name: str, state: BreakerState, *, reason: str, actor: str, seconds: float | None = None) -> None:
        """Open or close a breaker by hand. An open one probes after `seconds`, or never if that is None.

        Raises:
            UsageError: Neither fleet.yaml nor the database has a breaker of this name.
        """
        known = [one.name for one in self.list_breakers()]
        if name not in known:
            hint = f"breakers: {', '.join(known)}" if known else "add one under `breakers` in fleet.yaml"
            raise UsageError(f"there is no breaker {name!r}", hint=hint)
        values = {"name": name, "state": state.value, "reason": reason, "actor": actor, "seconds": seconds}
        self._connection.execute(SQL["move"], values)


@contextmanager
def open_breakers(project: Path, state: Path | None) -> Iterator[Breakers]:
    """Open the breakers of the platform of a project.

    Raises:
        UsageError: There is no such project, or its fleet.yaml is wrong.
        AirfleetError: No platform runs there, or its database does not answer.
    """
    project = find_project(project)
    fleet = read_fleet(project)
    with metadata_database.connect(fleet, project, state, what="breakers") as connection:
        yield Breakers(connection, fleet)
