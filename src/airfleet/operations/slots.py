"""The slots of a platform's pools, as a person sees and sets them. Everything is rows of the metadata database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from airfleet.components import slots as slot_components
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import metadata_database
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_project, read_fleet
from airfleet_provider.contract import slot_list
from airfleet_provider.contract.slot_rules import SILENT_S, STALE_S, SlotDecision, SlotInputs, SlotRule, count_hosts
from airfleet_provider.contract.slot_simulation import PastTask
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "slots")


@dataclass(frozen=True, slots=True)
class PastDecision:
    """A decision that changed the slots of a worker, with all that it depended on."""

    pool: str
    decided_at: datetime
    inputs: SlotInputs
    decision: SlotDecision


@dataclass(frozen=True, slots=True)
class PoolSlots:
    """A pool that scales: its rule, its workers as they reported last, and who has set its slots."""

    rule: SlotRule
    workers: Sequence[dict[str, Any]]
    override: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class HostNeed:
    """How many of a pool's hosts the last decision needs, and the most that one of the last days needed.

    `empty` are the hosts that have neither tasks nor slots in any of their pools, in the order in which they would get
    tasks.
    """

    pool: str
    hosts: int
    needed: int
    most_needed: int
    empty: tuple[str, ...]


class Slots:
    """The pools over one connection.

    Raises:
        AirfleetError: From every method, if the database does not answer.
    """

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], fleet: Fleet) -> None:
        self._connection = connection
        self.jitter = fleet.jitter
        self.rules = {rule.pool: rule for rule in slot_components.list_rules(fleet)}
        # Their workers in pools that do not scale always have slots.
        self._never_empty = {one.name for one in fleet.with_role("worker") if not self.rules.keys() >= {*one.pools}}

    def list_pools(self) -> tuple[PoolSlots, ...]:
        """Return the pools that scale."""
        workers = self._connection.execute(slot_list.SQL["list_workers"]).fetchall()
        overrides = {row["pool"]: row for row in self._connection.execute(slot_list.SQL["list_overrides"])}
        return tuple(
            PoolSlots(rule, [row for row in workers if row["pool"] == name], overrides.get(name))
            for name, rule in self.rules.items()
        )

    def list_decisions(self, pool: str | None, *, limit: int) -> tuple[PastDecision, ...]:
        """Return the last decisions about one pool, or about all, the newest first."""
        rows = self._connection.execute(SQL["list_decisions"], {"pool": pool, "limit": limit})
        return tuple(
            PastDecision(
                row["pool"],
                row["decided_at"],
                SlotInputs.from_json(row["inputs"]),
                SlotDecision(row["wanted"], row["slots"], row["reason"]),
            )
            for row in rows
        )

    def scale(self, pool: str, slots: int | None, *, actor: str, reason: str) -> None:
        """Set the slots of a whole pool, or let it scale by itself again with None. The agents act on it in seconds.

        Raises:
            UsageError: The pool does not scale, or has not so many slots.
        """
        rule = self.find_rule(pool)
        least, most = rule.fewest, rule.per_host * len(rule.hosts)
        if slots is not None and not least <= slots <= most:
            hint = "`airfleet workers drain` takes a worker out of service" if slots < least else ""
            raise UsageError(f"the pool {pool} can have from {least} to {most} slots, not {slots}", hint=hint)

        def query(statement: LiteralString, values: Mapping[str, Any]) -> list[dict[str, Any]]:
            return self._connection.execute(statement, values).fetchall()

        slot_list.scale(query, pool, slots, actor=actor, reason=reason)

    def find_rule(self, pool: str) -> SlotRule:
        """Return the rule of a pool.

        Raises:
            UsageError: The pool does not scale.
        """
        if pool not in self.rules:
            known = f"pools that scale: {', '.join(self.rules)}; " if self.rules else ""
            hint = f"{known}give it `scale: {{}}` under `pools` in fleet.yaml, where Celery runs the tasks"
            raise UsageError(f"no pool {pool!r} scales here", hint=hint)
        return self.rules[pool]

    def find_need(self, pool: str, *, days: float) -> HostNeed:
        """Return how many hosts of a pool are needed, by the decisions of the last days.

        Raises:
            UsageError: The pool does not scale.
        """
        rule = self.find_rule(pool)
        values = {"pool": pool, "seconds": days * 86_400.0}
        [most] = self._connection.execute(SQL["find_most_wanted"], values).fetchall()
        last = self.list_decisions(pool, limit=1)
        pools = self.list_pools()
        # A host may serve several pools, and whoever switches it off takes it from all of them.
        used = self._never_empty | {row["host"] for one in pools for row in one.workers if not _is_empty(row)}
        empty = tuple(
            row["host"] for one in pools if one.rule.pool == pool for row in one.workers if row["host"] not in used
        )

        def count(wanted: int) -> int:
            return min(len(rule.hosts), -(-max(1, wanted) // rule.per_host))

        needed = count(last[0].decision.wanted if last else 0)
        if last:
            # Crons that come soon need hosts already, and no slots yet.
            inputs = last[0].inputs
            needed = max(needed, min(len(rule.hosts), count_hosts(inputs, inputs.least, inputs.most)))
        return HostNeed(pool, len(rule.hosts), needed, max(needed, count(most["wanted"])), empty)

    def find_demand(self, pool: str, *, calm_s: float) -> tuple[int, int]:
        """Return how many hosts the tasks of a pool need, also more than it has: now, and at most in `calm_s` seconds.

        Raises:
            UsageError: The pool does not scale.
            AirfleetError: The agents have not decided for a while, so what they wrote last may be old.
        """
        rule = self.find_rule(pool)
        [moment] = self._connection.execute(SQL["find_last_confirmation"], {"pool": pool}).fetchall()
        if moment["age_s"] is None or moment["age_s"] > STALE_S:
            raise AirfleetError(
                f"nobody has decided about the pool {pool} for a while", hint="airfleet status: do the agents run?"
            )
        rows = self._connection.execute(SQL["list_inputs_since"], {"pool": pool, "seconds": calm_s}).fetchall()
        least, most = rule.find_wishes(moment["now"])
        hosts = [count_hosts(SlotInputs.from_json(row["inputs"]), least, most) for row in rows]
        return (hosts[0], max(hosts)) if hosts else (0, 0)

    def list_past(self, pool: str, *, days: float) -> tuple[PastTask, ...]:
        """Return the tasks of a pool's queues that started in the last `days` days and have ended."""
        values = {"seconds": days * 86_400.0, "queues": list(self.find_rule(pool).queues)}
        return tuple(
            PastTask(row["ready_at"], row["ran_s"], row["cron_of"])
            for row in self._connection.execute(SQL["list_past"], values)
        )


@contextmanager
def open_slots(project: Path, state: Path | None) -> Iterator[Slots]:
    """Open the slots of the platform of a project.

    Raises:
        UsageError: There is no such project, or its fleet.yaml is wrong.
        AirfleetError: No platform runs there, or its database does not answer.
    """
    project = find_project(project)
    fleet = read_fleet(project)
    with metadata_database.connect(fleet, project, state, what="slots that scale") as connection:
        yield Slots(connection, fleet)


def _is_empty(worker: Mapping[str, Any]) -> bool:
    """Return whether a worker said a moment ago that it has neither tasks nor slots."""
    return worker["slots"] == worker["held"] == 0 and worker["age_s"] is not None and worker["age_s"] < SILENT_S
