"""Failed Dag runs as alerts, found in the database: no Dag has a callback, and a retry notifies nobody.

One turn reads the runs that have ended since the last, by primary keys, and the failed tasks of running runs. It never
scans the tables. What is written and what is remembered is one transaction, so a crash loses and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg import Connection

from airfleet_provider.contract.alert_schema import AGENTS, Severity, end_alert, raise_alert, resolve_alert
from airfleet_provider.contract.notification_policy import FailureRule
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "failures")

EVERY_S = 5.0
# Without rules, there is only the end of the alerts of rules that were removed.
IDLE_EVERY_S = 60.0
SOURCE = "airflow"
BACKFILL = "backfill"
NAME = "DagRunFailed"
# So many of the newest runs are read in each turn, as ids do not become visible in their order.
OVERLAP = 500
# Nobody is notified of a run that failed more days ago: its alert may be resolved and deleted already, or there was no
# rule at the time.
OLD_DAYS = 3
# A Dag that left the live release may come back soon. After so many days its failures are nobody's any more.
STALE_DAYS = 1
# So many failures within so many seconds have an alert each. Those beyond have one together: whatever made them fail is
# one cause, and a pager takes one event at a time.
MOST_AT_ONCE, CROWD_S = 20, 600.0
CROWD_NAME, CROWD_FINGERPRINT = "DagRunsFailed", "dag-runs"
# Who ended an alert that was held back, in `airfleet.alert.ended_by`.
HELD_BACK_BY = "DagRunsFailed"
# So many failed tasks are named.
MOST_TASKS = 10

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFailure:
    """A run with failed tasks. It has failed itself, or goes on. `number` is the primary key of the run."""

    number: int
    dag: str
    run: str
    is_over: bool
    since: datetime | None
    tasks: tuple[str, ...]
    task_count: int

    @property
    def fingerprint(self) -> str:
        return f"dag-run:{self.number}"


@dataclass(frozen=True, slots=True)
class FailedDag:
    """What the rules know of a Dag."""

    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailuresTurn:
    """The ends of the runs that a turn has read, and how many failures it found."""

    ended: Mapping[int, datetime | None]
    failures: int


class FailureWatch:
    """The rules, applied to the database in each turn."""

    def __init__(self, rules: Sequence[FailureRule]) -> None:
        self._rules = tuple(rules)
        # The end of each of the newest runs that a committed turn has read. It only saves work.
        self._done: dict[int, datetime | None] = {}

    def once(self, connection: Connection[Row]) -> FailuresTurn:
        """Write an alert for each failed run, and resolve those whose Dag has succeeded since, or that nobody asserts.

        Must run in one transaction; once that is committed, `note` its turn. May be repeated.
        """
        turn = self._read(connection) if self._rules else FailuresTurn({}, 0)
        self._end_unasserted(connection)
        return turn

    def _read(self, connection: Connection[Row]) -> FailuresTurn:
        _run(connection, SQL["begin"])
        changed = _run(connection, SQL["changed"], overlap=OVERLAP, days=OLD_DAYS)
        ended = [row for row in changed if row["state"] in ("success", "failed")]
        fresh = [row for row in ended if row["is_watched"] or self._done.get(row["id"], ()) != row["end_date"]]
        failures = [_read_failed(connection, row) for row in fresh if row["state"] == "failed" and not row["is_old"]]
        failures += [_read_failing(row) for row in _run(connection, SQL["failing"], most=MOST_TASKS)]
        self._raise_all(connection, failures)
        successes = [row for row in fresh if row["state"] == "success"]
        if successes:
            _run(
                connection,
                SQL["succeeded"],
                dags=[row["dag_id"] for row in successes],
                runs=[row["id"] for row in successes],
                backfills=[row["run_type"] == BACKFILL for row in successes],
                source=SOURCE,
            )
        _run(
            connection,
            SQL["remember"],
            ended=[row["id"] for row in ended],
            open=[row["id"] for row in changed if row["state"] not in ("success", "failed")],
            last=max((row["id"] for row in changed), default=0),
        )
        return FailuresTurn({row["id"]: row["end_date"] for row in ended}, len(failures))

    def _end_unasserted(self, connection: Connection[Row]) -> None:
        """End the alerts of runs that run again or are gone, of Dags that left the release, and of removed rules."""
        _run(connection, SQL["end_crowd"], fingerprint=CROWD_FINGERPRINT, window=CROWD_S)
        rows = _run(connection, SQL["open"], source=SOURCE, name=NAME, days=STALE_DAYS)
        known = _read_dags(connection, {row["dag_id"] for row in rows})
        for row in rows:
            if row["runs_again"]:
                # If it fails again, that is a new alert: an acknowledgement of this one does not count for it.
                resolve_alert(connection, row["fingerprint"])
            elif note := self._find_end(row, known.get(row["dag_id"], FailedDag())):
                end_alert(connection, row["id"], ended_by=AGENTS, note=note)

    def _find_end(self, row: Row, facts: FailedDag) -> str:
        if row["is_run_gone"]:
            return "the run was deleted"
        if row["is_dag_gone"]:
            return "the Dag has left the live release"
        is_covered = any(one.fits(row["dag_id"], facts.tags, facts.owners) for one in self._rules)
        return "" if is_covered else "no rule of `notifications.failures` is about this Dag any more"

    def note(self, turn: FailuresTurn) -> None:
        """Remember what a committed turn has read."""
        self._done |= turn.ended
        for number in sorted(self._done)[: -2 * OVERLAP]:
            del self._done[number]

    def _raise_all(self, connection: Connection[Row], failures: Sequence[RunFailure]) -> None:
        """Write an alert for each failure that a rule is about. Those of a crowd are held back, and share one."""
        known = _read_dags(connection, {one.dag for one in failures})
        found = []
        for failure in failures:
            facts = known.get(failure.dag, FailedDag())
            rule = next((one for one in self._rules if one.fits(failure.dag, facts.tags, facts.owners)), None)
            if rule is not None:
                found.append((failure, facts, rule.severity))
        if not found:
            return
        names, since = [one.fingerprint for one, _, _ in found], [one.since for one, _, _ in found]
        told = {row["fingerprint"] for row in _run(connection, SQL["told"], fingerprints=names, since=since)}
        [recent] = _run(connection, SQL["recent"], source=SOURCE, name=NAME, held_back_by=HELD_BACK_BY, window=CROWD_S)
        room, held_back = MOST_AT_ONCE - int(recent["alerts"]), []
        for failure, facts, severity in found:
            number = self._raise(connection, failure, facts, severity)
            if failure.fingerprint in told:
                continue
            room -= 1
            if room < 0 and number is not None:
                note = "one of many that failed at the same time"
                _run(connection, SQL["hold_back"], id=number, held_back_by=HELD_BACK_BY, note=note)
                held_back.append((severity, failure))
        if held_back:
            _raise_crowd(connection, held_back)

    def _raise(
        self, connection: Connection[Row], failure: RunFailure, facts: FailedDag, severity: Severity
    ) -> int | None:
        return raise_alert(
            connection,
            fingerprint=failure.fingerprint,
            source=SOURCE,
            name=NAME,
            severity=severity,
            summary=describe(failure),
            description=f"The run is {failure.run}.",
            labels={
                "dag_id": failure.dag,
                "run_id": failure.run,
                "number": str(failure.number),
                "owner": ", ".join(facts.owners),
                "tags": ", ".join(facts.tags),
            },
            started_at=failure.since,
        )


def _raise_crowd(connection: Connection[Row], held_back: Sequence[tuple[Severity, RunFailure]]) -> None:
    dags = sorted({failure.dag for _, failure in held_back})
    raise_alert(
        connection,
        fingerprint=CROWD_FINGERPRINT,
        source=SOURCE,
        name=CROWD_NAME,
        severity=max((severity for severity, _ in held_back), key=lambda one: one.rank),
        summary=f"more than {MOST_AT_ONCE} Dag runs failed within {CROWD_S / 60:.0f} minutes",
        description=f"The last: {', '.join(dags[:MOST_TASKS])}{' and others' if len(dags) > MOST_TASKS else ''}.\n"
        "Nobody is notified of each of them. First command: airfleet alerts list --all",
    )


def describe(failure: RunFailure) -> str:
    """Return one sentence that says which tasks failed, and whether the run goes on."""
    more = failure.task_count - len(failure.tasks)
    names = ", ".join(failure.tasks) + (f" and {more} more" if more else "")
    if failure.is_over:
        return f"{failure.dag}: the run failed" + (f": {names}" if names else "")
    return f"{failure.dag}: {names} failed; the run goes on"


def _read_failed(connection: Connection[Row], row: Mapping[str, Any]) -> RunFailure:
    words = {"dag": row["dag_id"], "run": row["run_id"], "most": MOST_TASKS}
    (tasks,) = _run(connection, SQL["failed_tasks"], **words)
    return RunFailure(
        number=row["id"],
        dag=row["dag_id"],
        run=row["run_id"],
        is_over=True,
        # The moment names the episode: the same failure is raised once, and a new one after the run was cleared again.
        since=tasks["ended_at"] or row["end_date"],
        tasks=tuple(tasks["tasks"] or ()),
        task_count=tasks["number"],
    )


def _read_failing(row: Mapping[str, Any]) -> RunFailure:
    return RunFailure(
        number=row["id"],
        dag=row["dag_id"],
        run=row["run_id"],
        is_over=False,
        since=row["ended_at"],
        tasks=tuple(row["tasks"]),
        task_count=row["number"],
    )


def _read_dags(connection: Connection[Row], dags: Iterable[str]) -> dict[str, FailedDag]:
    names = list(dags)
    if not names:
        return {}
    return {
        row["dag_id"]: FailedDag(
            tuple(one.strip() for one in row["owners"].split(",") if one.strip()), tuple(row["tags"])
        )
        for row in _run(connection, SQL["dags"], dags=names)
    }


def _run(connection: Connection[Row], statement: LiteralString, **values: object) -> list[Row]:
    cursor = connection.execute(statement, values or None)
    return cursor.fetchall() if cursor.description else []
