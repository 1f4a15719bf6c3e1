"""What `airfleet sla` shows, as plain data: open instances, reports of a time, and the history of a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from airfleet_provider.contract.sla_rules import SlaRule
from airfleet_provider.contract.statements import Statements
from airfleet_provider.slas.alerts import show_moment
from airfleet_provider.slas.instances import Instance
from airfleet_provider.slas.store import read_instance

SQL = Statements(__package__, "reports")

Row = dict[str, Any]
# Run a statement with its parameters, and return its rows.
Query = Callable[[str, Mapping[str, object]], list[Row]]

# `list` shows no more instances, and those that ended so recently.
MOST = 1000
RECENT = timedelta(days=1)
# The figures of an engine that has not worked for so long are old.
STALE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class EngineState:
    """The rules that the engine evaluates, and when it did so last."""

    rules: Mapping[tuple[str, str], SlaRule]
    evaluated_at: datetime | None
    now: datetime | None
    # The rules that are about nothing that Airflow knows.
    unmatched: tuple[str, ...] = ()

    @property
    def is_stale(self) -> bool:
        """Return whether the engine has not worked lately."""
        return self.evaluated_at is None or self.now is None or self.now - self.evaluated_at > STALE


@dataclass(frozen=True, slots=True)
class Total:
    """How often a promise about one subject was kept in a time. `worst_s` is the largest lateness, in seconds.

    `dag_id` is None if the subject is an asset.
    """

    rule: str
    kind: str
    subject: str
    dag_id: str | None
    met: int
    missed: int
    never: int
    worst_s: float | None

    @property
    def share(self) -> float | None:
        """Return the share that was met, in percent; None if nothing ended."""
        return find_share(self.met, self.missed)

    def to_row(self) -> Row:
        """Return the total as plain data. `subject` has the Dag."""
        row = asdict(self)
        del row["dag_id"]
        return row


def find_share(met: int, missed: int) -> float | None:
    """Return the share of instances that were met, in percent; None if there are none."""
    return 100 * met / (met + missed) if met + missed else None


def read_engine(query: Query) -> EngineState:
    """Return what the engine evaluates."""
    rows = query(SQL["rules"], {})
    if not rows:
        return EngineState({}, None, None)
    rules = [SlaRule.from_json(one["rule"]) for one in rows[0]["rules"]]
    by_name = {(rule.name, rule.kind.value): rule for rule in rules}
    unmatched = {one["rule"]["name"]: None for one in rows[0]["rules"] if one.get("subjects") == 0}
    return EngineState(by_name, rows[0]["evaluated_at"], rows[0]["now"], tuple(unmatched))


def list_instances(
    query: Query, *, rule: str | None, dag: str | None, state: str | None, now: datetime, with_ended: bool
) -> list[tuple[int, Instance]]:
    """Return the open instances with their ids, the worst first; `with_ended` adds those that ended in the last day."""
    ended_after = now - RECENT if with_ended else now
    values = {"rule": rule, "dag": dag, "state": state, "ended_after": ended_after, "most": MOST}
    return [(row["id"], read_instance(row)) for row in query(SQL["instances"], values)]


def report(query: Query, *, since: datetime, until: datetime, rule: str | None, dag: str | None) -> list[Total]:
    """Return how often each promise was kept in a time."""
    values = {"since": since, "until": until, "rule": rule, "dag": dag}
    return [
        Total(
            row["rule"],
            row["kind"],
            _name(row),
            row["dag_id"] or None,
            row["met"],
            row["missed"],
            row["never"],
            row["worst"].total_seconds() if row["worst"] is not None else None,
        )
        for row in query(SQL["report"], values)
    ]


def read_history(query: Query, *, rule: str, dag: str | None, most: int) -> list[tuple[int, Instance]]:
    """Return the last instances of a rule, the newest first."""
    rows = query(SQL["history"], {"rule": rule, "dag": dag, "most": most})
    return [(row["id"], read_instance(row)) for row in rows]


def to_row(number: int, instance: Instance, rules: Mapping[tuple[str, str], SlaRule]) -> Row:
    """Return an instance as plain data. Moments are in ISO 8601, and `due_local` is in the zone of the rule."""
    rule = rules.get((instance.key.rule, instance.key.kind.value))
    late = (instance.fulfilled_at or instance.expected_at or instance.due_at) - instance.due_at
    return {
        "id": number,
        "rule": instance.key.rule,
        "kind": instance.key.kind.value,
        "promise": rule.describe() if rule else instance.key.kind.value,
        "subject": str(instance.key.subject),
        "dag_id": instance.key.subject.dag_id or None,
        "task_id": instance.key.subject.task_id or None,
        "asset": instance.key.subject.asset or None,
        "run_id": instance.run_id,
        "state": instance.state.value,
        "due_at": instance.due_at.isoformat(),
        "due_local": show_moment(instance.due_at, rule) if rule else f"{instance.due_at:%Y-%m-%d %H:%M} UTC",
        "expected_at": _show(instance.expected_at),
        "fulfilled_at": _show(instance.fulfilled_at),
        "ended_at": _show(instance.ended_at),
        "late_s": round(late.total_seconds()) if late > timedelta() else None,
        "reason": instance.reason,
    }


def sum_up(totals: Iterable[Total]) -> tuple[int, int]:
    """Return how many instances were met, and how many were missed."""
    found = list(totals)
    return sum(one.met for one in found), sum(one.missed for one in found)


def _show(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _name(row: Row) -> str:
    if row["asset"]:
        return f"asset {row['asset']}"
    return f"{row['dag_id']}.{row['task_id']}" if row["task_id"] else str(row["dag_id"])
