"""Which tasks the scheduler holds back now, because a service gets enough calls (ADR 76)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.breakers import limit_ledger
from airfleet_provider.breakers.coverage import Coverage, Task
from airfleet_provider.breakers.kept_connection import KeptConnection
from airfleet_provider.breakers.limit_ledger import SQL, Execute, LimitAccount
from airfleet_provider.compat.patches.held_tasks import Held
from airfleet_provider.contract.service_limits import ServiceLimit

log = logging.getLogger("airfleet")

# While tasks wait, the rows of limits are locked at least and at most this often.
WRITE_EVERY_S = 1.0
LOOK_AGAIN_S = 0.1
# After a look, the next one waits so many times as long as that took: many tasks do not slow the scheduler down.
REST = 4
PRUNE_EVERY_S = 300.0
# A statement that takes longer fails, and the tasks that were held before stay so for a while.
STATEMENT_MS = 1000
HOLD_BLINDLY_S = 30.0
# Explanations find the limit of so many tasks.
MOST_TASKS = 1000


@dataclass(slots=True)
class LimitGate:
    """Grants starts in the loops of one scheduler. Other schedulers may do it too: the rows of limits are locked.

    A loop in which no task of a limit waits costs one query. A loop in which tasks wait, but none may start yet, costs
    one query too, but for one loop each second.
    """

    limits: Sequence[ServiceLimit]
    # Opens a connection of psycopg2 in autocommit mode. The scheduler's own session must not suffer from an error here.
    connect: Callable[[], Any]
    clock: Callable[[], float] = time.monotonic
    connection: KeptConnection = field(init=False)
    coverage: Coverage = field(init=False)
    by_name: Mapping[str, ServiceLimit] = field(init=False)
    # What the last transaction has found: the instances that may start, by limit, and when it is worth to look again.
    granted: Mapping[str, Mapping[str, Task]] = field(default_factory=dict)
    look_at: float = float("-inf")
    # Until when nothing is looked for, whatever has changed.
    rests_until: float = float("-inf")
    # Until when the database is not asked, as it has just failed.
    fails_until: float = float("-inf")
    pruned_at: float = float("-inf")
    noted: set[str] = field(default_factory=set)
    held: Sequence[Held] = ()
    held_at: float = float("-inf")
    seen: Mapping[str, Collection[Task]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connection = KeptConnection(self.connect)
        self.by_name = {one.name: one for one in self.limits}
        self.coverage = Coverage(tuple(one.service for one in self.limits), self.clock)

    def find_held(self, kept: Sequence[Held] = ()) -> Sequence[Held]:
        """Return the tasks to hold back; never raise. Breakers keep the tasks of `kept`, but for those that probe.

        If the database does not answer in time, the tasks that were held last are held for half a minute more.
        """
        now = self.clock()
        if now >= self.fails_until:
            try:
                self.held, self.held_at = self._work(now, kept), now
                return self.held
            except Exception as error:
                log.warning("The limits of services cannot be read: %s: %s", type(error).__name__, error)
                self.connection.drop()
                # A statement may have taken until its limit. Not each loop of the scheduler should.
                self.fails_until = self.clock() + REST * (self.clock() - now)
        if now - self.held_at > HOLD_BLINDLY_S:
            self.held = ()
        return self.held

    def _work(self, now: float, kept: Sequence[Held]) -> Sequence[Held]:
        with self._transaction(writes=False) as execute:
            rows = execute(limit_ledger.SQL["list_scheduled"], {})
            counts = {(dag, task): count for dag, task, count, _ in rows if count}
            resumed = {(dag, task): ids for dag, task, _, ids in rows if ids}
            found = self.coverage.find(list(counts), list(self.by_name), execute)
            if self.pruned_at == float("-inf"):
                # A scheduler that was killed may have left notes of tasks that wait.
                self.noted.update(name for (name,) in execute(SQL["list_noted"], {}) if name in self.by_name)
        waiting = {name: tasks for name, tasks in found.items() if tasks}
        names = waiting.keys() | self.noted
        has_changed = any(tasks != self.seen.get(name) for name, tasks in waiting.items())
        if now >= self.look_at or (has_changed and now >= self.rests_until):
            if names:
                self._look(now, sorted(names), waiting, counts, kept)
            self._prune(now)
        tasks = frozenset(one for some in waiting.values() for one in some)
        going_on = {one for task in tasks for one in resumed.get(task, ())}
        return [Held(tasks, frozenset(going_on.union(self._list_let_through(waiting))))] if tasks else []

    def _list_let_through(self, waiting: Mapping[str, Collection[Task]]) -> Iterator[str]:
        """Yield the task instances that have a grant of each limit that they are under."""
        for instance, task in {one: task for some in self.granted.values() for one, task in some.items()}.items():
            if all(instance in self.granted.get(name, ()) for name, tasks in waiting.items() if task in tasks):
                yield instance

    def _look(
        self,
        now: float,
        names: Sequence[str],
        waiting: Mapping[str, Collection[Task]],
        counts: Mapping[Task, int],
        kept: Sequence[Held],
    ) -> None:
        """Grant what may start, and write down what waits."""
        with self._transaction(writes=True) as execute:
            accounts = limit_ledger.open_accounts(execute, [self.by_name[name] for name in names])
            limit_ledger.settle(execute, accounts)
            limit_ledger.count_active(execute, accounts, self.coverage)
            tasks = {one for held in kept for one in held.tasks}
            probes = {one for held in kept for one in held.exempt}
            limit_ledger.choose(execute, accounts, waiting, tasks, probes)
            written = [describe(account, waiting.get(name, ()), counts) for name, account in accounts.items()]
            execute(SQL["write"], {"accounts": json.dumps(written)})
        self.granted = {name: account.granted for name, account in accounts.items()}
        self.noted = {name for name, account in accounts.items() if name in waiting or account.active}
        self.seen = waiting
        # What a limit on tasks at once waits for may end at any moment.
        soon = [0.0 if one.limit.at_once else one.wait_s for name, one in accounts.items() if name in waiting]
        rest_s = REST * (self.clock() - now)
        self.look_at = now + max(LOOK_AGAIN_S, rest_s, min([WRITE_EVERY_S, *soon]))
        self.rests_until = now + rest_s

    def _prune(self, now: float) -> None:
        if now - self.pruned_at > PRUNE_EVERY_S:
            with self._transaction(writes=True) as execute:
                execute(SQL["prune"], {"names": sorted(self.by_name)})
            self.pruned_at = now

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Execute]:
        with self.connection.open().cursor() as cursor:

            def execute(sql: str, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []

            limits = f"SET LOCAL statement_timeout = {STATEMENT_MS}; SET LOCAL lock_timeout = {STATEMENT_MS}"
            cursor.execute(f"BEGIN{'' if writes else ' READ ONLY'}; {limits}")
            yield execute
            cursor.execute("COMMIT")


def describe(account: LimitAccount, tasks: Collection[Task], counts: Mapping[Task, int]) -> Mapping[str, object]:
    """Return what is written of an account, whose limit these tasks wait for."""
    return {
        "name": account.limit.name,
        "tokens": account.tokens,
        "idle_s": account.idle_s,
        "starts": account.limit.starts_per_minute,
        "at_once": account.limit.at_once,
        "active": account.active + len(account.granted),
        "waiting": max(0, sum(counts[one] for one in tasks) - len(account.granted)),
        "tasks": sorted(tasks)[:MOST_TASKS],
    }
