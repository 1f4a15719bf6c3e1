"""Forty tasks in a real database, and what works on their breakers."""

from __future__ import annotations

import threading
import uuid

import psycopg2

import servers
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.breakers.gate import Gate
from airfleet_provider.breakers.loop import BreakerLoop
from airfleet_provider.breakers.messages import Failed, GateAnswer
from airfleet_provider.breakers.reports import Reports
from airfleet_provider.contract.breaker_rules import BreakerRule
from running_dags import replace_dags

RULE = BreakerRule("crm", dag="sales", probe_after_s=0.0)
USED = BreakerRule("dwh", connection="dwh_.*", workers=1)
NARROWED = BreakerRule("lake", connection="lake_.*", dag="sales", tag="lake", workers=1)
CODE = BreakerRule("code")
RULES = {rule.name: rule for rule in (RULE, USED, NARROWED, CODE)}
TASK = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, hostname, span_status, executor_config)
VALUES (%s, %s, 'r', 'load', %s, 'scheduled', 1, 1, 'default_pool', 1, 'default', 1, %s, 'ended', ''::bytea)
"""
AWAY = Failed(("crm",), (), "ConnectionRefusedError")


class BreakerPlatform:
    """Forty tasks that wait, twenty of each of two Dags, and what works on their breakers."""

    def __init__(self, server: servers.Server) -> None:
        self.server = server
        tables = ("breaker", "breaker_event", "breaker_failure", "breaker_task", "breaker_probe")
        replace_dags(server, "sales", "other", and_empty=", ".join(f"airfleet.{name}" for name in tables))
        self.tasks = [self._add("sales", number) for number in range(20)]
        self.others = [self._add("other", number) for number in range(20)]
        self.reports = Reports(RULES, self.connect)
        self.gate = Gate(RULES, self.connect, iter(range(10_000)).__next__)
        lease = AgentsLease("host:1")
        context = Context("breakers", {}, lease, threading.Event(), lambda own: connect({"conninfo": server.dsn}, own))
        with context.share() as connection:
            lease.note(lease.ask(connection))
        self.lease, self.context, self.loop = lease, context, BreakerLoop(tuple(RULES.values()))

    def _add(self, dag: str, number: int) -> str:
        instance = str(uuid.uuid4())
        self.server.query(TASK, instance, dag, number, f"host{number % 2}")
        return instance

    def connect(self) -> object:
        connection = psycopg2.connect(self.server.dsn)
        connection.autocommit = True
        return connection

    def fail(self, number: int) -> GateAnswer:
        return self.reports.answer(self.tasks[number], AWAY)

    def age_failures(self) -> None:
        self.server.query("UPDATE airfleet.breaker_failure SET failed_at = failed_at - interval '4 seconds'")

    def list_members(self, breaker: str) -> list[tuple[str, str]]:
        return self.server.query("SELECT dag_id, task_id FROM airfleet.breaker_task WHERE breaker = %s", breaker)

    def read(self) -> tuple[str, int]:
        found = self.server.query("SELECT state, wave FROM airfleet.breaker WHERE name = 'crm'")
        return found[0] if found else ("none", 0)

    def list_probes(self) -> list[str]:
        rows = self.server.query(
            "SELECT p.instance::text FROM airfleet.breaker_probe p JOIN airfleet.breaker b"
            " ON b.name = p.breaker AND b.generation = p.generation WHERE p.outcome = 'chosen'"
        )
        return [instance for (instance,) in rows]

    def turn(self) -> tuple[str, int]:
        self.loop.once(self.context)
        return self.read()

    def silence_agents(self) -> None:
        """Let two minutes pass since the agents have renewed their lease."""
        self.server.query("UPDATE airfleet.lease SET renewed_at = renewed_at - interval '2 min' WHERE name = 'agents'")

    def end(self, instances: list[str], state: str = "success") -> None:
        self.server.query("UPDATE task_instance SET state = %s WHERE id = ANY(%s::uuid[])", state, instances)
