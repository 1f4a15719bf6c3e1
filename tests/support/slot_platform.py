"""One Dag, two workers, and the loop that gives them slots, in a real database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import servers
from airfleet.operations.slots import Slots
from airfleet.spec import load
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import slot_list
from airfleet_provider.contract.slot_list import ScalingWorker
from airfleet_provider.contract.slot_rules import SlotRule
from airfleet_provider.slots.loop import SlotLoop
from airfleet_provider.slots.reports import note
from running_dags import replace_dags

RULE = SlotRule("cpu", ("cpu",), ("a", "b"), per_host=8, calm_s=60.0)
FLEET = """
pools: {cpu: {queues: [default, cpu], concurrency: 8, scale: {pack: false}}}
hosts:
  c: {address: 10.0.0.1, roles: [database, scheduler, web, broker]}
  a: {address: 10.0.0.2, roles: [worker]}
  b: {address: 10.0.0.3, roles: [worker]}
"""
TASK = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, hostname, span_status, executor_config)
SELECT gen_random_uuid(), 'sales', 'r', 'load', n + (SELECT count(*) FROM task_instance), %s, 1, 1, %s, 1, 'cpu',
    1, 'a', 'ended', ''::bytea
FROM generate_series(1, %s) n
"""


class SlotPlatform:
    """One Dag, two workers, and the loop with a clock of its own."""

    def __init__(self, server: servers.Server) -> None:
        self.server = server
        self.now = 1000.0
        names = ("worker_slots", "worker_drain", "slot_override", "slot_decision", "breaker")
        own = ", ".join(f"airfleet.{name}" for name in names)
        replace_dags(server, "sales", at_once=100, and_empty=f"slot_pool, {own}")
        server.query("INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('default_pool', -1, false)")
        server.query("INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('crm', 3, false)")
        self.lease = AgentsLease("host:1")
        database = {"conninfo": server.dsn}
        self.context = Context("slots", {}, self.lease, threading.Event(), lambda own: connect(database, own))
        self.renew()
        self.engine = create_engine(server.dsn.replace("postgresql://", "postgresql+psycopg2://"))
        self.loop = self.make_loop()

    def renew(self) -> None:
        """Hold the lease, however slow this machine is."""
        with self.context.share() as connection:
            self.lease.note(self.lease.ask(connection))

    def make_loop(self) -> SlotLoop:
        return SlotLoop((RULE,), clock=lambda: self.now)

    def add(self, count: int, state: str = "scheduled", pool: str = "default_pool") -> None:
        self.server.query(TASK, state, pool, count)

    def report(self, host: str, held: int = 0, *, takes: bool = True) -> int | None:
        answer = self.ask(host, held, takes=takes)
        return None if answer is None else int(answer["slots"])

    def ask(
        self, host: str, held: int = 0, *, takes: bool = True, marked: bool = False, pool: str = "cpu"
    ) -> dict[str, Any] | None:
        """Report as the worker of a host, and return the answer."""
        values = {"pool": pool, "host": host, "held": held, "in_force": 8, "takes": takes, "marked": marked}
        return note(values, self._session)

    def is_drained(self, host: str, held: int = 0, *, takes: bool = True, pool: str = "cpu") -> bool:
        """Report as the worker of a host, and return whether the answer drains it."""
        answer = self.ask(host, held, takes=takes, pool=pool)
        assert answer is not None
        return bool(answer["drained"])

    def turn_worker(self, host: str, *, drained: bool, pool: str = "cpu") -> None:
        """Drain or resume as the Fleet pages do."""
        with self._session() as session:
            query = metadata_db.query_in(session)
            slot_list.drain(query, [(pool, host)], actor="ada", reason="new disk", drained=drained)

    def list_workers(self) -> dict[str, ScalingWorker]:
        """Return what the Fleet pages show of each worker."""
        with self._session() as session:
            pools = slot_list.list_pools(metadata_db.query_in(session))
        return {f"{pool.name}@{worker.host}": worker for pool in pools for worker in pool.workers}

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self.engine) as session, session.begin():
            yield session

    def read_ranks(self) -> dict[str, int | None]:
        return dict(self.server.query("SELECT host, rank FROM airfleet.worker_slots"))

    def pack(self) -> None:
        """Let the loop pack tasks from now on."""
        self.loop = SlotLoop((replace(RULE, pack=True),), clock=lambda: self.now)

    def turn(self, seconds: float = 1.0) -> dict[str, int | None]:
        self.now += seconds
        self.renew()
        self.loop.once(self.context)
        return dict(self.server.query("SELECT host, slots FROM airfleet.worker_slots"))

    @contextmanager
    def person(self) -> Iterator[Slots]:
        with psycopg.connect(self.server.dsn, autocommit=True, row_factory=dict_row) as connection:
            yield Slots(connection, load.parse(FLEET, file="fleet.yaml", default_name="f", cpus=2))

    def age(self, column: str, seconds: float) -> None:
        self.server.query(f"UPDATE airfleet.worker_slots SET {column} = now() - interval '1 s' * %s", seconds)  # noqa: S608
