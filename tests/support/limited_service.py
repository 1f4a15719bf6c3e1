"""A service that many tasks call, in a real database, and what works on its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg2

import servers
from airfleet_provider.breakers.limit_gate import LimitGate
from airfleet_provider.breakers.messages import GateAnswer, Starts
from airfleet_provider.breakers.reports import Reports
from airfleet_provider.compat.patches.held_tasks import Held
from airfleet_provider.contract import limit_list
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.service_limits import ServiceLimit
from running_dags import replace_dags

# A limit of one start a minute lets nothing more start while a test runs on a slow machine.
RATE = ServiceLimit(BreakerRule("crm", dag="sales|one"), starts_per_minute=60)
SLOW = ServiceLimit(BreakerRule("crm", dag="sales|one"), starts_per_minute=1)
SOME = ServiceLimit(BreakerRule("dwh", dag="sales|one"), at_once=3)
USED = ServiceLimit(BreakerRule("api", connection="api_.*"), starts_per_minute=1)
TASKS = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, hostname, span_status, executor_config)
SELECT gen_random_uuid(), %s, 'r', 'load', n, 'scheduled', 1, 1, 'default_pool', 1, 'default', 1, 'w', 'ended',
    ''::bytea
FROM generate_series(1, %s) n RETURNING id::text
"""
POOL = "INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('default_pool', 1000, false)"
QUEUE = "UPDATE task_instance SET state = 'queued', queued_dttm = clock_timestamp() WHERE id = ANY(%s::uuid[])"


@dataclass(slots=True)
class LimitedService:
    """500 tasks of one Dag and three of another that call one service, and what works on its limits."""

    server: servers.Server
    limits: tuple[ServiceLimit, ...] = (SLOW,)
    many: int = 500
    now: float = 0.0
    sales: list[str] = field(init=False)
    one: list[str] = field(init=False)
    gate: LimitGate = field(init=False)

    def __post_init__(self) -> None:
        own = "airfleet.service_limit, airfleet.service_grant, airfleet.breaker, airfleet.breaker_task"
        replace_dags(self.server, "sales", "one", at_once=1000, and_empty=f"slot_pool, {own}")
        self.server.query(POOL)
        self.sales = [one for (one,) in self.server.query(TASKS, "sales", self.many)]
        self.one = [one for (one,) in self.server.query(TASKS, "one", 3)]
        self.gate = self.make_gate()

    def make_gate(self) -> LimitGate:
        return LimitGate(self.limits, self.connect, lambda: self.now)

    def connect(self) -> object:
        connection = psycopg2.connect(self.server.dsn)
        connection.autocommit = True
        return connection

    def reports(self) -> Reports:
        return Reports({}, self.connect, limits={one.name: one for one in self.limits})

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in the database too."""
        self.now += seconds
        self.server.query(
            "UPDATE airfleet.service_limit SET refilled_at = refilled_at - make_interval(secs => %s)", seconds
        )
        self.server.query(
            "UPDATE airfleet.service_grant SET granted_at = granted_at - i, started_at = started_at - i"
            " FROM make_interval(secs => %s) AS i",
            seconds,
        )

    def see(self, gate: LimitGate | None = None, kept: Sequence[Held] = ()) -> set[str]:
        """Return the scheduled instances that the scheduler finds: those that are not held."""
        held = (gate or self.gate).find_held(kept)
        rows = self.server.query("SELECT id::text, dag_id, task_id FROM task_instance WHERE state = 'scheduled'")
        return {one for one, dag, task in rows if all((dag, task) not in h.tasks or one in h.exempt for h in held)}

    def loop(self, gate: LimitGate | None = None) -> set[str]:
        """Do what a loop of a scheduler does: queue what it finds."""
        found = self.see(gate)
        self.server.query(QUEUE, sorted(found))
        return found

    def end(self, instances: Sequence[str], state: str = "success") -> None:
        self.server.query("UPDATE task_instance SET state = %s WHERE id = ANY(%s::uuid[])", state, list(instances))

    def start(self, instance: str, names: tuple[str, ...] = ("crm",)) -> GateAnswer:
        return self.reports().answer(instance, Starts(names))

    def read_clock(self) -> float:
        [(now,)] = self.server.query("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(now)

    def read_status(self) -> limit_list.LimitStatus:
        def query(statement: str, _: object) -> list[dict[str, object]]:
            names = ("name", "waiting", "active", "held_until", "starts")
            return [dict(zip(names, row, strict=True)) for row in self.server.query(statement)]

        [found] = limit_list.list_limits(query, self.limits)
        return found
