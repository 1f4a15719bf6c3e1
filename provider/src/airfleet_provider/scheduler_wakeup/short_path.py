"""Queues tasks whose upstream tasks have succeeded, without a loop of Airflow's scheduler (ADR 18)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.compat.calls import dag_traits, metadata_db, queueing
from airfleet_provider.compat.patches import held_tasks
from airfleet_provider.contract import fallbacks
from airfleet_provider.contract.fallbacks import Counter
from airfleet_provider.contract.statements import Statements
from airfleet_provider.scheduler_wakeup.change_queue import Run
from airfleet_provider.scheduler_wakeup.plain_runs import (
    UNDECIDED,
    Decision,
    InstanceRow,
    PoolRoom,
    decide,
    have_room,
    list_open,
)

log = logging.getLogger("airfleet")

SQL = Statements(__package__, "short_path")

# A step reads at most so many task instances. Airflow examines larger runs.
MOST_INSTANCES = 500
# As many Dags as a scheduler of a large fleet schedules in some minutes.
MOST_DAGS = 1000
# The executor reads the results of ended tasks after so many queued tasks. Unread results hold slots.
READ_AFTER = 4


@dataclass(slots=True)
class ShortPath:
    """The steps of one scheduler."""

    send: Callable[[Any], bool] = queueing.send
    read: Callable[[Any], None] = queueing.read_results
    counts: Counter = field(default_factory=lambda: Counter(fallbacks.SCHEDULER_STEP, None))
    # The scheduler, from its first loop on.
    runner: Any = None
    lock: int = 0
    is_usable: bool = False
    traits: dict[str, tuple[str, dag_traits.DagTraits]] = field(default_factory=dict)
    unread: int = 0
    # What the next loop may queue in Dag runs that earlier steps left to it.
    claims: dict[Run, tuple[InstanceRow, ...]] = field(default_factory=dict)

    def meet(self, runner: Any) -> None:  # noqa: ANN401 - a SchedulerJobRunner
        """Take notice of a loop of the scheduler, which also reads results."""
        self.unread = 0
        self.claims.clear()
        if self.runner is not runner:
            self.runner, self.lock = runner, queueing.read_lock()
            # With breakers or limits, Airflow's own query leaves tasks out that must wait.
            self.is_usable = queueing.is_simple(runner) and not held_tasks.PATCH.is_applied()

    def step(self, runs: Collection[Run]) -> frozenset[Run]:
        """Queue and send the tasks of these Dag runs that may start; return the runs about which Airflow must decide.

        Airflow decides about all of them after an error, and if not everything that is ready can be queued at once.
        """
        if not self.is_usable or not runs:
            return frozenset(runs)
        try:
            with metadata_db.open_session() as session:
                settled, queued = self._work(runs, session)
            if queued and not self._send(queued):
                return frozenset(runs)  # the executor's heartbeat, in the next loop, tries again or records the tasks
        except Exception as error:
            self.counts.fell_back(f"{type(error).__name__}: {error}")
            return frozenset(runs)
        for _ in settled:
            self.counts.took_fast()
        return frozenset(runs) - settled

    def _work(self, runs: Collection[Run], session: Any) -> tuple[frozenset[Run], int]:  # noqa: ANN401 - a session
        query = metadata_db.query_in(session)
        names = {"dags": [dag for dag, _ in runs], "runs": [run for _, run in runs]}
        locked = query(SQL["lock_runs"], names)
        decisions = self._decide(locked, query(SQL["read_instances"], {**names, "most": MOST_INSTANCES + 1}), session)
        settled = frozenset(run for run, decision in decisions.items() if decision.is_settled)
        ready = [one for decision in decisions.values() for one in decision.ready]
        for run, decision in decisions.items():
            self.claims[run] = (*decision.ready, *decision.rivals)
        if not ready:
            return settled, 0
        if not query(SQL["lock_queueing"], {"lock": self.lock})[0]["is_locked"]:
            return frozenset(), 0
        chosen = {one.id for one in ready}
        rivals = [one for claim in self.claims.values() for one in claim if one.id not in chosen]
        if not have_room(ready, rivals, _read_pools(query), slots=queueing.count_free_slots(self.runner)):
            return frozenset(), 0
        ids = [one.id for one in ready]
        has_id = self.runner.executor.pre_assigns_external_executor_id
        values = {"ids": ids, "now": queueing.read_now(), "job": self.runner.job.id, "has_id": has_id}
        if len(query(SQL["queue"], values)) != len(ids):  # a task changed meanwhile
            session.rollback()
            return frozenset(), 0
        queueing.hand_over(self.runner, ids, session)
        session.commit()
        self.claims.update((run, decision.rivals) for run, decision in decisions.items())
        log.info("queued after their upstream tasks: %s", ", ".join(f"{one.task} {one.id}" for one in ready))
        return settled, len(ids)

    def _decide(
        self,
        locked: Sequence[Mapping[str, Any]],
        rows: Sequence[Mapping[str, Any]],
        session: Any,  # noqa: ANN401 - a session of SQLAlchemy
    ) -> dict[Run, Decision]:
        if len(rows) > MOST_INSTANCES:
            return {}
        instances: dict[Run, list[InstanceRow]] = {}
        for row in rows:
            instances.setdefault((row["dag_id"], row["run_id"]), []).append(_read_instance(row))
        found = {}
        for row in locked:
            run = (row["dag_id"], row["run_id"])
            found[run] = self._decide_run(row, instances.get(run, []), session)
        return found

    def _decide_run(self, row: Mapping[str, Any], instances: Sequence[InstanceRow], session: Any) -> Decision:  # noqa: ANN401
        version = row["version"]
        # Without an instance of the newest version, Airflow first adds and removes task instances.
        if not (row["is_of_release"] or any(one.version == version for one in instances)):
            return Decision(rivals=tuple(list_open(instances)))
        traits = self._read_traits(version, row["hash"], session)
        if traits is None:
            return UNDECIDED
        began = row["start_date"]
        if traits.timeout and began and began < queueing.read_now() - traits.timeout:
            return UNDECIDED
        return decide(traits.tasks, instances, version=version, most_active=row["max_active_tasks"])

    def _read_traits(self, version: str, digest: str, session: Any) -> dag_traits.DagTraits | None:  # noqa: ANN401
        """Return the traits of a Dag. A version that is written again has another digest."""
        known = self.traits.pop(version, None)
        if known is None or known[0] != digest:
            dag = queueing.get_dag(self.runner, version, session)
            if dag is None:
                return None
            known = (digest, dag_traits.read_traits(dag))
        self.traits[version] = known
        while len(self.traits) > MOST_DAGS:
            del self.traits[next(iter(self.traits))]
        return known[1]

    def _send(self, queued: int) -> bool:
        is_sent = self.send(self.runner)
        self.unread += queued
        if self.unread >= READ_AFTER:
            self.unread = 0
            self.read(self.runner)
        return is_sent


def _read_instance(row: Mapping[str, Any]) -> InstanceRow:
    return InstanceRow(
        id=row["id"],
        task=row["task_id"],
        map_index=row["map_index"],
        state=row["state"],
        try_number=row["try_number"],
        pool=row["pool"],
        pool_slots=row["pool_slots"],
        executor=row["executor"],
        version=row["version"],
    )


def _read_pools(query: Callable[..., Sequence[Mapping[str, Any]]]) -> dict[str, PoolRoom]:
    rooms = {}
    for row in query(SQL["read_pools"], {}):
        total = float("inf") if row["total"] == -1 else row["total"]
        rooms[row["pool"]] = PoolRoom(total, total - row["held"], row["awaited"])
    return rooms
