"""The planned hand-over between schedulers, and the state of each scheduler (ADR 8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from airfleet.errors import AirfleetError, DatabaseAwayError
from airfleet.spec.secrets import Secret
from airfleet_provider.contract.lease_schema import CHANNEL, CandidateState
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "scheduler_handover")

ALIVE_S = 10.0
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class LiveScheduler:
    """One live scheduler: its host, its state, and whether it is active."""

    name: str
    host: str
    state: str
    active: bool


@dataclass(frozen=True, slots=True)
class HandOver:
    """A hand-over to another scheduler. Times are seconds since the request.

    `stopped_s` is when the earlier scheduler ended, `taken_s` when the other took the lease, `began_s` when its
    scheduler started to work, and `works_s` when its Airflow job started.
    """

    before: str
    after: str
    epoch: int
    stopped_s: float
    taken_s: float
    began_s: float
    works_s: float


class SchedulerHandover:
    """Hand-overs through the metadata database of one platform. It writes only the request."""

    def __init__(self, database: Secret) -> None:
        self._database = database

    def list_candidates(self) -> list[LiveScheduler]:
        """Return the live schedulers.

        Raises:
            AirfleetError: The platform has one scheduler only, or its database does not answer.
        """
        with self._connect() as connection:
            return self._list_candidates(connection)

    def hand_over(self, *, timeout_s: float, notify: Callable[[str], None]) -> HandOver:
        """Request a hand-over of the active scheduler, and wait until another works.

        Raises:
            AirfleetError: There is no active scheduler or no standby, or the wait exceeds `timeout_s`.
        """
        with self._connect() as connection:
            candidates = self._list_candidates(connection)
            active = next((one for one in candidates if one.active), None)
            if active is None:
                raise AirfleetError("no scheduler is active now", hint="`airfleet status` and the schedulers' logs")
            if not any(one.state == CandidateState.STANDBY for one in candidates if not one.active):
                raise AirfleetError(
                    f"no standby scheduler for {active.name}",
                    where=active.host,
                    hint="start the other scheduler first; without a standby a hand-over would only stop work",
                )
            rows = connection.execute(SQL["request"], {"channel": CHANNEL}).fetchall()
            if not rows:
                raise AirfleetError("the active scheduler has just changed", hint="check the state: airfleet status")
            notify(f"{active.name}: hand-over requested")
            done = self._wait(connection, rows[0], timeout_s)
        if done is None:
            raise AirfleetError(
                f"{active.name} has not handed over within {timeout_s:g} s",
                where=active.host,
                hint="a LocalExecutor first waits for its tasks; the request stays in effect",
            )
        return HandOver(
            active.name, done["seat"], done["epoch"], done["stopped"], done["taken"], done["began"], done["works"]
        )

    def _wait(
        self, connection: psycopg.Connection[dict[str, Any]], request: dict[str, Any], timeout_s: float
    ) -> dict[str, Any] | None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            row = self._one(connection, SQL["progress"], at=request["at"], epoch=request["epoch"])
            if row and row["works"] is not None:
                return row
            time.sleep(LOOK_EVERY_S)
        return None

    def _list_candidates(self, connection: psycopg.Connection[dict[str, Any]]) -> list[LiveScheduler]:
        found = self._one(connection, SQL["exists"])
        rows = connection.execute(SQL["seats"], {"alive": ALIVE_S}).fetchall() if found and found["found"] else []
        if not rows:
            raise AirfleetError(
                "this fleet has no second scheduler to hand over to",
                hint="set `schedulers: 2` in fleet.yaml and start the platform again",
            )
        return [LiveScheduler(**row) for row in rows]

    @staticmethod
    def _one(
        connection: psycopg.Connection[dict[str, Any]], sql: LiteralString, **words: object
    ) -> dict[str, Any] | None:
        return connection.execute(sql, words).fetchone()

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        try:
            with psycopg.connect(
                self._database.reveal(), autocommit=True, connect_timeout=5, row_factory=dict_row
            ) as connection:
                yield connection
        except psycopg.Error as error:
            what = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise DatabaseAwayError(f"the metadata database does not answer: {what}", hint="airfleet status") from error
