"""The alerts of a platform, as a person sees and answers them. Everything is rows of the metadata database."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from airfleet.errors import UsageError
from airfleet.operations import metadata_database
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_project, read_fleet
from airfleet_provider.contract import alert_list, alert_schema
from airfleet_provider.contract.alert_list import Alert, Silence
from airfleet_provider.contract.alert_schema import NotificationState
from airfleet_provider.contract.notification_policy import Matcher
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "alerts")

TEST_S = 60.0
POLL_S = 0.5
_ENDED = (NotificationState.SENT, NotificationState.FAILED)


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What became of a test notification."""

    receiver: str
    state: str
    error: str


class Alerts:
    """The alerts over one connection.

    Raises:
        AirfleetError: From every method, if the database does not answer.
    """

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], fleet: Fleet) -> None:
        self._connection = connection
        self._fleet = fleet

    def list_alerts(self, *, with_resolved: bool) -> tuple[Alert, ...]:
        """Return the open alerts, the most severe first, and those that resolved in the last day if they are wanted."""
        return alert_list.list_alerts(self._query, with_resolved=with_resolved)

    def list_silences(self) -> tuple[Silence, ...]:
        """Return the silences that have not ended."""
        return alert_list.list_silences(self._query)

    def list_open(self) -> tuple[int, ...]:
        """Return the ids of the open alerts."""
        return tuple(row["id"] for row in self._connection.execute(SQL["open_ids"]))

    def acknowledge(self, alert: int, *, actor: str, note: str) -> None:
        """Record that somebody works on an alert, which ends its escalation.

        Raises:
            UsageError: There is no such alert.
        """
        if not alert_schema.acknowledge(self._connection, alert, actor=actor, via="cli", note=note):
            raise UsageError(f"there is no alert {alert}", hint="airfleet alerts list")

    def resolve(self, alert: int, *, actor: str, reason: str) -> None:
        """End an alert by hand, with the person and the reason. If its source reports it again, it begins again.

        Raises:
            UsageError: There is no such alert, or it has ended.
        """
        if not alert_schema.end_alert(self._connection, alert, ended_by=actor, note=reason):
            raise UsageError(f"no alert {alert} is open", hint="airfleet alerts list")

    def silence(self, matcher: Matcher, seconds: float, *, actor: str, comment: str) -> int:
        """Silence the alerts that fit for so long, and return the id of the silence."""
        return alert_list.silence(self._query, matcher, seconds, actor=actor, comment=comment)

    def match_alert(self, alert: int) -> Matcher:
        """Return a matcher for the alerts with the name and the labels of this one.

        Raises:
            UsageError: There is no such alert.
        """
        matcher = alert_list.match_alert(self._query, alert)
        if matcher is None:
            raise UsageError(f"there is no alert {alert}", hint="airfleet alerts list --all")
        return matcher

    def end_silence(self, silence: int) -> None:
        """End a silence now.

        Raises:
            UsageError: There is none with this id, or it has ended.
        """
        if not alert_list.end_silence(self._query, silence):
            raise UsageError(f"there is no silence {silence}", hint="airfleet alerts silence --list")

    def _query(self, statement: LiteralString, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return self._connection.execute(statement, values).fetchall()

    def test(
        self,
        receiver: str,
        *,
        wait_s: float = TEST_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> TestOutcome:
        """Send a test notification through the agents, and return what became of it after `wait_s` at most.

        Raises:
            UsageError: fleet.yaml has no such receiver.
        """
        known = [one.receiver.name for one in self._fleet.notifications.receivers]
        if receiver not in known:
            hint = f"receivers: {', '.join(known)}" if known else "add one under `notifications` in fleet.yaml"
            raise UsageError(f"fleet.yaml has no receiver {receiver!r}", hint=hint)
        values = {"key": f"test.{secrets.token_hex(8)}", "receiver": receiver}
        row = self._connection.execute(SQL["test"], values).fetchone()
        assert row is not None  # noqa: S101 - RETURNING
        end = clock() + wait_s
        while True:
            found = self._connection.execute(SQL["outcome"], {"id": row["id"]}).fetchone()
            if found is None or found["state"] in _ENDED or clock() >= end:
                state, error = (found["state"], found["error"] or "") if found else ("failed", "it was deleted")
                return TestOutcome(receiver, state, error)
            sleep(POLL_S)


@contextmanager
def open_alerts(project: Path, state: Path | None) -> Iterator[Alerts]:
    """Open the alerts of the platform of a project.

    Raises:
        UsageError: There is no such project, or its fleet.yaml is wrong.
        AirfleetError: No platform runs there, or its database does not answer.
    """
    project = find_project(project)
    fleet = read_fleet(project)
    with metadata_database.connect(fleet, project, state, what="alerts") as connection:
        yield Alerts(connection, fleet)
