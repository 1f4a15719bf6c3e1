"""What tasks ask and report about breakers, and what the platform answers. It runs where the API of tasks runs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from airfleet_provider.breakers import limit_ledger
from airfleet_provider.breakers.coverage import Coverage
from airfleet_provider.breakers.messages import Failed, GateAnswer, Request, Starts
from airfleet_provider.breakers.rules import ServiceFailure, should_open
from airfleet_provider.contract.breaker_rules import BreakerRule, BreakerState
from airfleet_provider.contract.service_limits import ServiceLimit, list_services
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "store")

# A task that waits leaves its slot for this time. After it, the scheduler keeps the task as long as is needed.
LEAST_WAIT_S, MOST_WAIT_S = 2.0, 6.0
# Failures of one task instance that are closer together count once. A task that waits cannot fail again so soon.
FAILURES_APART_S = LEAST_WAIT_S
ACTOR = "airfleet"

Execute = Callable[[str, Mapping[str, Any]], Sequence[tuple[Any, ...]]]


@dataclass(slots=True)
class Reports:
    """Answers requests of tasks, each with one short transaction."""

    rules: Mapping[str, BreakerRule]
    # Opens a connection of psycopg2 in autocommit mode.
    connect: Callable[[], Any]
    connection: Any = None
    choose: Callable[[float, float], float] = random.uniform
    limits: Mapping[str, ServiceLimit] = field(default_factory=dict)
    # The rules that say which tasks call a service: those of the breakers, and of limits without a breaker.
    services: Mapping[str, BreakerRule] = field(init=False)
    coverage: Coverage = field(init=False)

    def __post_init__(self) -> None:
        self.services = {rule.name: rule for rule in list_services(self.rules.values(), self.limits.values())}
        self.coverage = Coverage(tuple(one.service for one in self.limits.values()), time.monotonic)

    def answer(self, instance: str, request: Request) -> GateAnswer:
        """Return the answer to a request of the task instance with this id.

        Raises:
            Exception: The database does not answer. The next call opens another connection.
        """
        try:
            with self._transaction() as execute:
                match request:
                    case Starts():
                        return self._start(execute, instance, request)
                    case Failed():
                        return self._fail(execute, instance, request)
        except Exception:
            connection, self.connection = self.connection, None
            if connection is not None:
                connection.close()
            raise

    def add_user(self, instance: str, connection: str) -> None:
        """Record that a task has read a connection, for the services whose other expressions fit the task.

        That is no start: the task has begun already.

        Raises:
            Exception: As in `answer`.
        """
        names = [rule.name for rule in self.services.values() if rule.uses((connection,))]
        if names:
            self.answer(instance, Starts(declared=(), by_code=tuple(names), is_start=False))

    def _start(self, execute: Execute, instance: str, request: Starts) -> GateAnswer:
        names = [name for name in (*request.declared, *request.by_code) if name in self.services]
        if claimed := self._find_claimable(execute, instance, request.by_code):
            execute(SQL["add_members"], {"names": claimed, "instance": instance})
        held = execute(SQL["list_held"], {"names": list(names), "instance": instance})
        if held:
            return self._wait(held[0][0], "it is open")
        limits = self._find_limits(execute, instance, names) if request.is_start else ()
        full = limit_ledger.begin_start(execute, instance, limits, self.coverage) if limits else None
        return replace(self._wait(*full), is_limit=True) if full else GateAnswer()

    def _find_limits(self, execute: Execute, instance: str, names: Sequence[str]) -> list[ServiceLimit]:
        """Return those of the limits that the names and tags of a task instance put it under."""
        found = execute(SQL["find_instance"], {"instance": instance}) if self.limits.keys() & set(names) else ()
        if not found:
            return []
        dag, task, _ = found[0]
        known = [self.limits[name] for name in self.limits if name in names]
        return [one for one in known if self._may_claim(execute, one.service, dag, task)]

    def _fail(self, execute: Execute, instance: str, request: Failed) -> GateAnswer:
        found = execute(SQL["find_instance"], {"instance": instance})
        if not found:
            return GateAnswer()
        dag, task, worker = found[0]
        sure = [name for name in self._known(request.sure) if self._may_claim(execute, self.rules[name], dag, task)]
        perhaps = [
            name
            for name in self._known(request.perhaps)
            if self.rules[name].is_by_connection and self._may_claim(execute, self.rules[name], dag, task)
        ]
        names = self._known((*sure, *self._find_own(execute, dag, task, perhaps)))
        if not names:
            return GateAnswer()
        execute(SQL["add_members"], {"names": names, "instance": instance})
        # In the order of their names, so that two transactions never wait for each other.
        answers = [self._note(execute, self.rules[name], instance, worker, request) for name in sorted(names)]
        return next((one for one in answers if one.wait_s is not None), GateAnswer())

    def _find_claimable(self, execute: Execute, instance: str, names: Sequence[str]) -> list[str]:
        """Return those of the breakers that a task instance may join by its code, or by a connection that it reads.

        The names and tags alone say who belongs to any other breaker.
        """
        open_to_claims = [name for name in names if name in self.services and not self.services[name].is_by_names]
        found = execute(SQL["find_instance"], {"instance": instance}) if open_to_claims else ()
        if not found:
            return []
        dag, task, _ = found[0]
        return [name for name in open_to_claims if self._may_claim(execute, self.services[name], dag, task)]

    def _may_claim(self, execute: Execute, rule: BreakerRule, dag: str, task: str) -> bool:
        """Return whether the expressions for Dag, tag and task allow a task to report for a breaker, or to join it."""
        tags = execute(SQL["list_tags"], {"dags": [dag]}) if rule.tag is not None else ()
        return rule.fits(dag, task, tags[0][1] if tags else ())

    def _find_own(self, execute: Execute, dag: str, task: str, names: Collection[str]) -> list[str]:
        """Return those of the breakers whose connection this task has read before."""
        asked = {"dag": dag, "task": task, "names": list(names)}
        return [name for (name,) in execute(SQL["find_members"], asked)] if names else []

    def _note(self, execute: Execute, rule: BreakerRule, instance: str, worker: str, request: Failed) -> GateAnswer:
        where = {"name": rule.name, "instance": instance}
        execute(SQL["create"], where)
        [(state, generation)] = execute(SQL["lock"], where)
        execute(SQL["add_failure"], {**where, "worker": worker, "error": request.error, "apart_s": FAILURES_APART_S})
        if state != BreakerState.CLOSED:
            execute(SQL["fail_probe"], {**where, "generation": generation})
            return self._wait(rule.name, "it is open")
        recent = execute(SQL["list_recent"], {**where, "window_s": rule.window_s})
        if should_open(rule, [ServiceFailure(*row) for row in recent]):
            move = {
                "state": BreakerState.OPEN,
                "wave": 0,
                "failed_probes": 0,
                # The task may have made the time up, so it keeps the breaker open no longer than a failed probe could.
                "probe_in_s": max(rule.probe_after_s, min(request.retry_after_s or 0.0, rule.probe_at_most_s)),
                "reason": f"{len({one for one, _ in recent})} tasks failed, the last with {request.error}",
                "actor": ACTOR,
            }
            execute(SQL["move"], {**where, "generation": generation, **move})
            return self._wait(rule.name, "it opens")
        [(waits,)] = execute(SQL["count_waits"], where)
        if waits <= rule.free_waits:
            return self._wait(rule.name, f"attempt {waits} of {rule.free_waits} that costs no try")
        return GateAnswer()

    def _wait(self, name: str, why: str) -> GateAnswer:
        # Nobody's retries come at the same moment.
        return GateAnswer(name, why, self.choose(LEAST_WAIT_S, MOST_WAIT_S))

    def _known(self, names: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(name for name in names if name in self.rules))

    @contextmanager
    def _transaction(self) -> Iterator[Execute]:
        if self.connection is None:
            self.connection = self.connect()
        with self.connection.cursor() as cursor:

            def execute(sql: str, words: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
                cursor.execute(sql, words)
                return cursor.fetchall() if cursor.description else []

            execute("BEGIN", {})
            yield execute
            execute("COMMIT", {})
