"""One turn of the SLA engine: read, evaluate, write. The agents process calls it (ADR 46)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from airfleet_provider.contract.sla_rules import SlaRule
from airfleet_provider.slas import alerts, engine, learning, reading, store
from airfleet_provider.slas.instances import InstanceKey
from airfleet_provider.slas.observations import ObservedRun
from airfleet_provider.slas.reading import ReaderMemory, Reading

Transaction = Callable[[], AbstractContextManager[Connection[dict[str, Any]]]]

# The cursor is written at least so often; after a fail-over, the engine reads what happened since.
ADVANCE_EVERY = timedelta(seconds=30)
PRUNE_EVERY = timedelta(hours=1)


class SlaEngine:
    """Evaluates the rules again and again. What it keeps in memory can be lost at any time."""

    def __init__(self, rules: Sequence[SlaRule]) -> None:
        self._rules = tuple(rules)
        self._memory = ReaderMemory()
        self._advanced_at: datetime | None = None
        self._pruned_at: datetime | None = None

    @property
    def is_new(self) -> bool:
        """Return whether the next turn reads everything, as nothing is in memory."""
        return self._memory.active is None

    def forget(self) -> None:
        """Read everything again next time, as after another engine has worked."""
        self._memory, self._advanced_at = ReaderMemory(), None

    def evaluate(self, read: Transaction, write: Transaction) -> int:
        """Do one turn, and return the number of transitions.

        `read` opens a transaction that reads, and `write` one that is committed only if no other engine works. After
        an error, the next turn begins as a new engine would: the rows are as they were, or as this turn made them.

        Raises:
            psycopg.Error: The database does not answer.
        """
        memory, self._memory = self._memory, ReaderMemory()
        with read() as connection:
            found = reading.read(connection, self._rules, memory)
            samples = reading.bootstrap(connection, found.memory) if self._rules else {}
        transitions = engine.evaluate(self._rules, found.seen, found.instances, found.now)
        samples |= _learn(found)
        closed: frozenset[InstanceKey] = frozenset()
        if transitions or samples or self._is_time(self._advanced_at, found.now, ADVANCE_EVERY):
            with write() as connection:
                closed = store.apply(connection, transitions)
                done = [one for one in transitions if one.key not in closed]
                store.write_alerts(connection, alerts.list_changes(self._rules, found.instances, done, found.now))
                store.learn(connection, samples)
                store.advance(connection, replace(found.cursor, subjects=self._count_subjects(found)))
                if self._is_time(self._pruned_at, found.now, PRUNE_EVERY):
                    store.prune(connection, found.now)
                    self._pruned_at = found.now
            self._advanced_at = found.now
        known = {**(found.memory.samples or {}), **samples}
        profiles = {dag_id: one for dag_id, own in samples.items() if (one := own.summarise())}
        self._memory = replace(
            found.memory,
            samples=known,
            profiles={**found.memory.profiles, **profiles},
            closed=found.memory.closed | closed,
        )
        return len(transitions)

    def _count_subjects(self, found: Reading) -> dict[tuple[str, str], int]:
        return {
            (rule.name, rule.kind.value): sum(1 for _ in engine.list_subjects(rule, found.seen)) for rule in self._rules
        }

    @staticmethod
    def _is_time(last: datetime | None, now: datetime, every: timedelta) -> bool:
        return last is None or now - last >= every


def _learn(found: Reading) -> dict[str, learning.Samples]:
    """Return the samples of the Dags whose runs have ended since the reading before."""
    changed: dict[str, learning.Samples] = {}
    known = found.memory.samples or {}
    for run in found.ended:
        # A Dag without samples learns from its past, this run included.
        if learning.teaches(run) and run.dag_id in known and _is_new(run, found):
            own = changed.get(run.dag_id, known[run.dag_id])
            downstream = reading.find_structure(found.memory, run.dag_id).downstream
            changed[run.dag_id] = own.add(run, downstream)
    return changed


def _is_new(run: ObservedRun, found: Reading) -> bool:
    """Return whether a run ended after the evaluation before: ids are read with an overlap."""
    since = found.seen.evaluated_at
    return since is None or (run.ended_at is not None and run.ended_at > since - timedelta(seconds=5))
