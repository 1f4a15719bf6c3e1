"""Write the transitions of instances, and the cursor: how far the engine has read. One transaction writes both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from airfleet_provider.contract import alert_schema
from airfleet_provider.contract.sla_rules import PromiseKind, PromiseState, SlaRule
from airfleet_provider.contract.statements import Statements
from airfleet_provider.slas.alerts import AlertChanges
from airfleet_provider.slas.instances import Instance, InstanceKey, PromiseSubject, Transition
from airfleet_provider.slas.learning import Samples

SQL = Statements(__package__, "store")

Row = dict[str, Any]

# Instances are kept for reports.
KEPT = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the engine has read, and the moment from which each rule counts, by its name and kind."""

    evaluated_at: datetime | None
    last_run: int
    since: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    # The rules as they are written with the cursor: `airfleet sla` describes promises with them.
    rules: Sequence[SlaRule] = ()
    # How many Dags, tasks or assets each rule is about.
    subjects: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Row, rules: Sequence[SlaRule]) -> Cursor:
        """Return the cursor of a row, with rules that count from now on if they are new.

        A first engine sees only the runs that are active, and those that begin later.
        """
        written = {(one["rule"]["name"], one["rule"]["kind"]): one for one in row["rules"] or ()}
        since = {}
        for rule in rules:
            old = written.get((rule.name, rule.kind.value))
            # A rule that was changed is another promise.
            is_known = old is not None and _promised(old["rule"]) == _promised(rule.to_json())
            since[rule.name, rule.kind.value] = datetime.fromisoformat(old["since"]) if old and is_known else row["now"]
        last = row["newest_run"] if row["last_run"] is None else row["last_run"]
        return cls(row["evaluated_at"], int(last), since, tuple(rules))

    def list_rules(self) -> list[dict[str, Any]]:
        """Return the rules as plain data, for the row."""
        return [
            {
                "rule": rule.to_json(),
                "since": self.since[rule.name, rule.kind.value].isoformat(),
                "subjects": self.subjects.get((rule.name, rule.kind.value), 0),
            }
            for rule in self.rules
        ]


def _promised(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if key != "severity"}


def apply(connection: Connection[Row], transitions: Iterable[Transition]) -> frozenset[InstanceKey]:
    """Write the transitions, and return the keys of new instances that have existed before: they stay as they are."""
    closed = set()
    for one in transitions:
        if one.after is None:
            connection.execute(SQL["withdraw"], _name(one.key))
        elif one.before is None:
            if connection.execute(SQL["insert"], _list_values(one.after)).fetchone() is None:
                closed.add(one.key)
        else:
            connection.execute(SQL["update"], _list_values(one.after))
    return frozenset(closed)


def write_alerts(connection: Connection[Row], changes: AlertChanges) -> None:
    """Raise and resolve alerts."""
    for alert in changes.raised:
        alert_schema.raise_alert(
            connection,
            fingerprint=alert.fingerprint,
            source=alert.source,
            name=alert.name,
            severity=alert.severity,
            summary=alert.summary,
            description=alert.description,
            labels=alert.labels,
            runbook=alert.runbook,
        )
    for fingerprint in changes.resolved:
        alert_schema.resolve_alert(connection, fingerprint)


def advance(connection: Connection[Row], cursor: Cursor) -> None:
    """Write how far the engine has read."""
    values = {"now": cursor.evaluated_at, "last": cursor.last_run, "rules": json.dumps(cursor.list_rules())}
    connection.execute(SQL["advance"], values)


def learn(connection: Connection[Row], samples: Mapping[str, Samples]) -> None:
    """Write the samples of Dags."""
    for dag_id, own in samples.items():
        connection.execute(SQL["learn"], {"dag": dag_id, "samples": json.dumps(own.to_json())})


def prune(connection: Connection[Row], now: datetime) -> None:
    """Remove a limited number of instances that ended before all reports."""
    connection.execute(SQL["prune"], {"before": now - KEPT})


def read_instance(row: Row) -> Instance:
    """Return the instance of a row."""
    subject = PromiseSubject(row["dag_id"], row["task_id"], row["asset"])
    return Instance(
        key=InstanceKey(row["rule"], PromiseKind(row["kind"]), subject, row["occasion"]),
        state=PromiseState(row["state"]),
        starts_at=row["starts_at"],
        due_at=row["due_at"],
        changed_at=row["changed_at"],
        run_id=row["run_id"],
        expected_at=row["expected_at"],
        reason=row["reason"],
        fulfilled_at=row["fulfilled_at"],
        ended_at=row["ended_at"],
        is_alerting=row["is_alerting"],
    )


def _name(key: InstanceKey) -> Row:
    return {
        "rule": key.rule,
        "kind": key.kind.value,
        "dag_id": key.subject.dag_id,
        "task_id": key.subject.task_id,
        "asset": key.subject.asset,
        "occasion": key.occasion,
    }


def _list_values(instance: Instance) -> Row:
    return {
        **_name(instance.key),
        "run_id": instance.run_id,
        "state": instance.state.value,
        "starts_at": instance.starts_at,
        "due_at": instance.due_at,
        "changed_at": instance.changed_at,
        "expected_at": instance.expected_at,
        "reason": instance.reason,
        "fulfilled_at": instance.fulfilled_at,
        "ended_at": instance.ended_at,
        "is_alerting": instance.is_alerting,
    }
