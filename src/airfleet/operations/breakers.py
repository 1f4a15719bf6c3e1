"""The circuit breakers of a platform, as a person sees and moves them. Everything is rows of the metadata database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import metadata_database
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_project, read_fleet
from airfleet_provider.contract.breaker_rules import State
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "breakers")

CONNECT_S = 10


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker. `probe_at` is None while it is closed, and if only a person closes it."""

    name: str
    state: State
    generation: int = 0
    changed_at: datetime | None = None
    opened_at: datetime | None = None
    probe_at: datetime | None = None
    wave: int = 0
    waiting: int = 0
    reason: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a breaker, and who or what made it."""

    breaker: str
    happened_at: datetime
    state: str
    wave: int
    reason: str
    actor: str


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
        found = {
            row["name"]: Breaker(**{**row, "state": State(row["state"])})
            for row in self._connection.execute(SQL["list"])
        }
        named = [found.pop(rule.name, Breaker(rule.name, State.CLOSED)) for rule in self._fleet.breakers]
        return (*named, *(one for one in found.values() if one.state is not State.CLOSED))

    def list_events(self, name: str | None, *, limit: int) -> tuple[Event, ...]:
        """Return the last changes of one breaker, or of all, the newest first."""
        rows = self._connection.execute(SQL["events"], {"name": name, "limit": limit})
        return tuple(Event(**row) for row in rows)

    def move(self, name: str, state: State, *, reason: str, actor: str, seconds: float | None = None) -> None:
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
    with ExitStack() as stack:
        dsn = stack.enter_context(metadata_database.reach(fleet, project, state))
        try:
            connection = stack.enter_context(
                psycopg.connect(dsn.reveal(), autocommit=True, connect_timeout=CONNECT_S, row_factory=dict_row)
            )
            yield Breakers(connection, fleet)
        except psycopg.errors.UndefinedTable:
            raise AirfleetError(
                "this platform has no breakers yet", hint="start it with this version of airfleet"
            ) from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            what = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
            raise AirfleetError(f"the metadata database does not answer: {what}", hint="airfleet status") from None
