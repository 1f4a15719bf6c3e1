"""The pools of workers with their limits, as people read them; and how a person sets slots and drains workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.slot_rules import SILENT_S, SlotInputs
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "slot_list")


@dataclass(frozen=True, slots=True)
class PageDrain:
    """A worker that somebody has drained on the Fleet pages."""

    drained_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScalingWorker:
    """A worker as it reported last.

    `slots` is what it may run at once, `held` the tasks that it has taken, and `age_s` the seconds since its report. It
    is drained by a file on its host if it is `marked`, and on the Fleet pages if it has a `drain`.
    """

    host: str
    slots: int
    held: int
    takes: bool
    age_s: float | None
    marked: bool = False
    drain: PageDrain | None = None

    @property
    def state(self) -> str:
        """Return whether it takes tasks. Why one that is not drained takes none is known on its host alone."""
        if self.age_s is None or self.age_s >= SILENT_S:
            return "silent"
        if self.marked or self.drain:
            return "draining" if self.takes or self.held else "drained"
        return "serving" if self.takes else "takes no tasks"


@dataclass(frozen=True, slots=True)
class SlotOverride:
    """The slots of a pool that a person has set."""

    slots: int
    set_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScalingPool:
    """A pool of workers.

    `least` and `most` are the limits of fleet.yaml at the last decision, `wanted` its slots and `why` its reason.
    `fewest` and `highest` are the slots that a person may set: one for each worker, or one for the pool if tasks are
    packed, and all that the workers can run.
    Before the first decision, and in a pool that does not scale, all of them are None, and nobody can set the slots.
    """

    name: str
    workers: tuple[ScalingWorker, ...]
    override: SlotOverride | None = None
    wanted: int | None = None
    why: str = ""
    decided_at: datetime | None = None
    least: int | None = None
    most: int | None = None
    fewest: int | None = None
    highest: int | None = None


def list_pools(query: Query) -> tuple[ScalingPool, ...]:
    """Return the pools whose workers report, in the order of their names."""
    workers = query(SQL["list_workers"], {})
    overrides = {row["pool"]: row for row in query(SQL["list_overrides"], {})}
    decisions = {row["pool"]: row for row in query(SQL["list_last_decisions"], {})}
    names = sorted({row["pool"] for row in workers})
    return tuple(
        _make_pool(name, [row for row in workers if row["pool"] == name], overrides.get(name), decisions.get(name))
        for name in names
    )


def scale(query: Query, pool: str, slots: int | None, *, actor: str, reason: str) -> None:
    """Set the slots of a pool, or let it scale by itself again with None, and write it to Airflow's audit log.

    Whether the pool can have so many slots is for the caller to check.
    """
    values = {"pool": pool, "slots": slots, "actor": actor, "reason": reason}
    query(SQL["clear_slots"] if slots is None else SQL["set_slots"], values)


def drain(query: Query, workers: Sequence[tuple[str, str]], *, actor: str, reason: str, drained: bool) -> None:
    """Drain workers, each a pool and a host, or let them serve again, and write it to Airflow's audit log."""
    if not workers:
        return
    chosen = {"pools": [pool for pool, _ in workers], "hosts": [host for _, host in workers]}
    statement = SQL["drain_workers"] if drained else SQL["resume_workers"]
    query(statement, {**chosen, "actor": actor, "reason": reason})


def _make_pool(
    name: str, rows: Sequence[Mapping[str, Any]], override: Mapping[str, Any] | None, last: Mapping[str, Any] | None
) -> ScalingPool:
    workers = tuple(
        ScalingWorker(
            row["host"],
            row["in_force"] or (row["otherwise"] if row["slots"] is None else row["slots"]),
            row["held"],
            row["takes"],
            row["age_s"],
            row["marked"],
            PageDrain(row["drained_at"], row["actor"], row["reason"]) if row["drained_at"] else None,
        )
        for row in rows
    )
    fixed = SlotOverride(*(override[key] for key in ("slots", "set_at", "actor", "reason"))) if override else None
    if last is None:
        return ScalingPool(name, workers, fixed)
    inputs = SlotInputs.from_json(last["inputs"])
    return ScalingPool(
        name=name,
        workers=workers,
        override=fixed,
        wanted=last["wanted"],
        why=last["reason"],
        decided_at=last["decided_at"],
        least=inputs.least,
        most=inputs.most,
        fewest=1 if inputs.pack else len(workers),
        highest=inputs.per_host * len(workers),
    )
