"""Slots in a real database: what the loop counts and writes, what workers report, and what a person sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import servers
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.machines.scaling_fleet import read_loads, read_need
from airfleet.operations.machines.scaling_rules import PoolNeed
from airfleet.operations.slots import HostNeed, Slots
from airfleet.operations.workers import page_drains
from airfleet.operations.workers.status import Worker
from airfleet.spec import load
from airfleet_provider.agent_loops.lease import AgentsLease, LeaseLostError
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import slot_list
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.slot_list import ScalingWorker
from airfleet_provider.contract.slot_rules import FixedPool, SlotRule, decide
from airfleet_provider.slots.loop import PRUNE_EVERY_S, SlotLoop, make_loop
from airfleet_provider.slots.reports import note

RULE = SlotRule("cpu", ("cpu",), ("a", "b"), per_host=8, calm_s=60.0)
FLEET = """
pools: {cpu: {queues: [default, cpu], concurrency: 8, scale: {pack: false}}}
hosts:
  c: {address: 10.0.0.1, roles: [database, scheduler, web, broker]}
  a: {address: 10.0.0.2, roles: [worker]}
  b: {address: 10.0.0.3, roles: [worker]}
"""
DAG = """
INSERT INTO dag (dag_id, is_paused, is_stale, exceeds_max_non_backfill, bundle_name, timetable_type,
    timetable_partitioned, timetable_periodic, partition_mapper_info, max_active_tasks, max_consecutive_failed_dag_runs,
    has_task_concurrency_limits, fail_fast, has_import_errors)
VALUES ('sales', false, false, false, 'b', '', false, true, '{}', 100, 0, false, false, false)
"""
RUN = """
INSERT INTO dag_run (dag_id, run_id, state, run_type, run_after, logical_date, created_at, updated_at, clear_number,
    context_carrier, span_status)
VALUES ('sales', 'r', 'running', 'manual', now(), now(), now(), now(), 0, '{}', 'ended')
"""
TASK = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, hostname, span_status, executor_config)
SELECT gen_random_uuid(), 'sales', 'r', 'load', n + (SELECT count(*) FROM task_instance), %s, 1, 1, %s, 1, 'cpu',
    1, 'a', 'ended', ''::bytea
FROM generate_series(1, %s) n
"""


class Platform:
    """One Dag, two workers, and the loop with a clock of its own."""

    def __init__(self, server: servers.Server) -> None:
        self.server = server
        self.now = 1000.0
        server.query("ALTER ROLE postgres SET session_replication_role = replica")  # rows without all their parents
        names = ("worker_slots", "worker_drain", "slot_override", "slot_decision", "breaker")
        own = ", ".join(f"airfleet.{name}" for name in names)
        server.query(f"TRUNCATE task_instance, dag_run, dag, slot_pool, {own} CASCADE")
        server.query("INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('default_pool', -1, false)")
        server.query("INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('crm', 3, false)")
        server.query(DAG)
        server.query(RUN)
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


@pytest.fixture
def platform(server: servers.Server) -> Iterator[Platform]:
    platform = Platform(server)
    assert platform.turn() == {"a": None, "b": None}, "workers that have not reported have all their slots"
    for host in RULE.hosts:
        assert platform.report(host) == 8
    yield platform
    platform.engine.dispose()
    with platform.context.share() as connection:
        platform.lease.release(connection)
    platform.context.disconnect()


def test_slots_follow_the_tasks_up_at_once_and_down_after_a_while(platform: Platform) -> None:
    assert platform.turn() == {"a": 1, "b": 1}
    platform.add(2, "running")
    platform.add(1, "queued")
    platform.add(500)
    platform.add(100, pool="crm")
    assert platform.turn() == {"a": 8, "b": 8}
    assert [platform.report(host, held=8) for host in RULE.hosts] == [8, 8]
    platform.server.query("UPDATE task_instance SET state = 'success' WHERE state <> 'running'")
    assert platform.turn(59) == {"a": 8, "b": 8}
    assert platform.turn(2) == {"a": 1, "b": 1}


def test_tasks_that_a_slot_pool_or_a_breaker_keeps_get_no_slots(platform: Platform) -> None:
    platform.add(100, pool="crm")
    assert platform.turn() == {"a": 2, "b": 1}
    platform.server.query(
        "INSERT INTO airfleet.breaker (name, state, waiting_tasks) VALUES ('crm', 'open', %s)",
        json.dumps([["sales", "load"]]),
    )
    assert platform.turn(61) == {"a": 1, "b": 1}


def test_a_new_loop_takes_nothing_away_that_the_old_one_gave(platform: Platform) -> None:
    platform.add(500)
    platform.turn()
    platform.server.query("UPDATE task_instance SET state = 'success'")
    platform.loop = platform.make_loop()
    assert platform.turn() == {"a": 8, "b": 8}
    assert platform.turn(59) == {"a": 8, "b": 8}
    assert platform.turn(2) == {"a": 1, "b": 1}


def test_a_worker_that_is_silent_or_drained_does_not_count_and_begins_with_one_slot_when_it_is_back(
    platform: Platform,
) -> None:
    platform.add(6, "running")
    platform.report("a", takes=False)
    assert platform.turn() == {"a": 1, "b": 6}
    assert platform.report("a") == 1
    assert platform.turn() == {"a": 1, "b": 5}


def test_workers_that_are_all_silent_keep_their_slots(platform: Platform) -> None:
    platform.add(6, "running")
    assert platform.turn() == {"a": 5, "b": 1}
    platform.age("seen_at", 60)
    assert platform.turn() == {"a": 5, "b": 1}
    assert platform.report("b") == 1


def test_without_an_agent_workers_keep_their_slots_for_two_minutes_and_then_have_all(platform: Platform) -> None:
    assert platform.turn() == {"a": 1, "b": 1}
    platform.age("decided_at", 100)
    assert platform.report("a") == 1
    platform.age("decided_at", 130)
    assert platform.report("a") == 8
    platform.turn()
    assert platform.report("a") == 1


def test_what_a_person_set_holds_without_an_agent_too_and_is_in_the_audit_log(platform: Platform) -> None:
    platform.add(500)
    platform.turn()
    with platform.person() as slots:
        slots.scale("cpu", 3, actor="ada", reason="the host is short of memory")
    assert platform.turn() == {"a": 2, "b": 1}
    platform.age("decided_at", 130)
    assert platform.report("a") == 2
    with platform.person() as slots:
        [pool] = slots.list_pools()
        assert pool.override
        assert (pool.override["slots"], pool.override["actor"]) == (3, "ada")
        slots.scale("cpu", None, actor="ada", reason="it has more now")
    assert platform.turn() == {"a": 8, "b": 8}
    rows = platform.server.query("SELECT owner, extra FROM log WHERE event = 'airfleet_scale_pool' ORDER BY id")
    assert [(owner, json.loads(extra)["slots"]) for owner, extra in rows[-2:]] == [("ada", 3), ("ada", "auto")]


def test_a_person_hears_what_cannot_be(platform: Platform) -> None:
    with platform.person() as slots:
        with pytest.raises(UsageError, match="from 2 to 16 slots, not 1"):
            slots.scale("cpu", 1, actor="ada", reason="")
        with pytest.raises(UsageError, match="no pool 'io' scales here"):
            slots.scale("io", 1, actor="ada", reason="")


def test_a_page_shows_a_pool_as_it_is_and_sets_its_slots(platform: Platform) -> None:
    def list_them() -> tuple[slot_list.ScalingPool, ...]:
        with platform._session() as session:
            return slot_list.list_pools(metadata_db.query_in(session))

    platform.turn()
    (pool,) = list_them()
    assert (pool.name, pool.fewest, pool.highest, pool.override) == ("cpu", 2, 16, None)
    assert [(one.host, one.state, one.held) for one in pool.workers] == [("a", "serving", 0), ("b", "serving", 0)]
    with platform._session() as session:
        slot_list.scale(metadata_db.query_in(session), "cpu", 3, actor="ada", reason="a test")
    platform.turn()
    platform.server.query("UPDATE airfleet.slot_decision SET decided_at = now() - interval '90 days'")
    platform.now += PRUNE_EVERY_S
    platform.turn()
    (pool,) = list_them()
    assert pool.override
    assert (pool.override.slots, pool.override.actor, pool.highest) == (3, "ada", 16), "limits outlast the history"
    with platform._session() as session:
        slot_list.scale(metadata_db.query_in(session), "cpu", None, actor="ada", reason="a test")
    assert list_them()[0].override is None


def test_hosts_that_the_pool_does_not_have_are_seen_to_be_needed_while_no_slot_changes(platform: Platform) -> None:
    platform.turn()
    with platform.person() as slots:
        assert slots.find_demand("cpu", calm_s=900) == (1, 1)
        platform.add(16)
        assert platform.turn() == {"a": 8, "b": 8}
        assert slots.find_demand("cpu", calm_s=900) == (2, 2)
        platform.add(24)
        assert platform.turn() == {"a": 8, "b": 8}
        assert slots.find_demand("cpu", calm_s=900) == (5, 5)
        platform.server.query("UPDATE task_instance SET state = 'success'")
        platform.turn(61)
        assert slots.find_demand("cpu", calm_s=900) == (1, 5)
        platform.server.query("UPDATE airfleet.slot_decision SET decided_at = now() - interval '16 minutes'")
        assert slots.find_demand("cpu", calm_s=900) == (1, 1)
        platform.age("decided_at", 130)
        with pytest.raises(AirfleetError, match="nobody has decided about the pool cpu"):
            slots.find_demand("cpu", calm_s=900)


def test_hosts_are_needed_before_the_crons_come_by_what_the_last_runs_needed_at_once(platform: Platform) -> None:
    platform.loop = SlotLoop((replace(RULE, ahead_s=90.0),), clock=lambda: platform.now)
    platform.server.query("UPDATE dag SET next_dagrun_create_after = now() + interval '1 hour'")
    platform.add(20, "success")
    # Ten at once, and ten after them, in the last run that a cron began; a run by hand says nothing of it.
    platform.server.query("UPDATE dag_run SET run_type = 'scheduled', state = 'success', start_date = now()")
    times = "start_date = now() + interval '40 s', end_date = now() + interval '50 s'"
    for few, ready in (("> 10", "now()"), ("<= 10", "now() + interval '10 s'")):
        platform.server.query(f"UPDATE task_instance SET scheduled_dttm = {ready}, {times} WHERE map_index {few}")  # noqa: S608
    platform.server.query(RUN.replace("'r'", "'by-hand'").replace("now(), now(), now()", "now(), NULL, now()", 1))
    platform.turn()
    with platform.person() as slots:
        assert slots.find_demand("cpu", calm_s=900) == (1, 1), "it comes in an hour"
        platform.server.query("UPDATE dag SET next_dagrun_create_after = now() + interval '1 minute'")
        platform.turn(1)
        assert slots.find_demand("cpu", calm_s=900) == (1, 1), "it is counted every ten seconds"
        slots_before = platform.turn(60)
        [last, *_] = slots.list_decisions("cpu", limit=1)
        assert (last.inputs.demand.due, last.inputs.demand.lasting) == (10, 0)
        platform.add(20, "running")
        platform.server.query(
            "UPDATE task_instance SET start_date = now() - interval '2 minutes' WHERE state = 'running'"
        )
        platform.turn(10)
        [last, *_] = slots.list_decisions("cpu", limit=1)
        assert (last.inputs.demand.tasks, last.inputs.demand.lasting) == (20, 20)
        assert slots.find_demand("cpu", calm_s=900)[0] == 4, "those that go on, and those that come"
        platform.server.query("UPDATE dag SET is_paused = true")
        platform.server.query("UPDATE task_instance SET state = 'success'")
        platform.turn(61)
        [last, *_] = slots.list_decisions("cpu", limit=1)
        assert (last.inputs.demand.due, last.inputs.demand.lasting) == (0, 0)
    assert slots_before == {"a": 1, "b": 1}, "a slot is needed when the task is there"


def test_a_new_agents_process_records_what_is_needed_then(platform: Platform) -> None:
    platform.add(16)
    platform.turn()
    platform.loop = platform.make_loop()
    platform.add(24)
    platform.turn()
    with platform.person() as slots:
        assert slots.find_demand("cpu", calm_s=900) == (5, 5)


def test_what_hosts_hold_is_known_of_those_whose_workers_report(platform: Platform) -> None:
    platform.report("a", held=3)
    platform.age("seen_at", 60)
    platform.report("b", held=2)
    fleet = load.parse(FLEET, file="fleet.yaml", default_name="f", cpus=2)
    with platform.person() as slots:
        assert {host: one.held for host, one in read_loads(slots, fleet).items()} == {"b": 2}
        platform.turn()
        assert read_need(slots, "cpu", 900, ["b"]) == PoolNeed("cpu", 1, 1, own=1)


def test_each_change_is_recorded_with_what_it_depended_on_and_nothing_else_is(platform: Platform) -> None:
    platform.add(5, "running")
    for _ in range(5):
        platform.turn()
    with platform.person() as slots:
        last, first = slots.list_decisions("cpu", limit=10)
        assert (last.decision.slots, last.decision.reason) == ({"a": 4, "b": 1}, "5 tasks need a slot")
        assert last.inputs.demand.running == 5
        assert decide(last.inputs) == last.decision
        assert first.decision.slots == {}
        assert slots.list_past("cpu", days=1) == ()


def test_a_host_that_joins_gets_slots_from_the_loop_that_runs(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"

    def put(*hosts: str) -> None:
        path.with_suffix(".new").write_text(json.dumps({"slots": {"rules": [replace(RULE, hosts=hosts).to_json()]}}))
        path.with_suffix(".new").replace(path)

    put("a", "b")
    loop = make_loop({AgentsKey.HOSTS: str(path)})
    platform.add(500)
    loop.once(platform.context)
    assert set(dict(platform.server.query("SELECT host, slots FROM airfleet.worker_slots"))) == {"a", "b"}
    put("a", "b", "c")
    platform.renew()
    loop.once(platform.context)
    assert [platform.report(host) for host in ("a", "b", "c")] == [8, 8, 1]
    platform.renew()
    loop.once(platform.context)
    assert dict(platform.server.query("SELECT host, slots FROM airfleet.worker_slots")) == {"a": 8, "b": 8, "c": 8}


def test_without_a_rule_the_rows_are_read_once_a_minute_and_when_a_host_joins(platform: Platform) -> None:
    platform.loop = SlotLoop((), clock=lambda: platform.now, fixed=(FixedPool("cpu", ("a",), 8),))
    assert platform.turn() == {"a": None}
    platform.server.query("DELETE FROM airfleet.worker_slots")
    assert platform.turn() == {}
    platform.loop.follow((), (FixedPool("cpu", ("a", "c"), 8),))
    assert platform.turn() == {"a": None, "c": None}
    platform.server.query("DELETE FROM airfleet.worker_slots WHERE host = 'c'")
    assert platform.turn() == {"a": None}
    assert platform.turn(60) == {"a": None, "c": None}


def test_rows_of_workers_that_no_rule_names_go_and_their_reports_find_none(platform: Platform) -> None:
    platform.loop = SlotLoop(())
    assert platform.turn() == {}
    assert platform.report("a") is None


def test_packed_tasks_have_their_slots_on_the_first_hosts_and_a_host_that_is_away_becomes_the_last(
    platform: Platform,
) -> None:
    platform.pack()
    platform.add(6, "running")
    platform.turn()
    assert platform.turn(61) == {"a": 6, "b": 0}
    assert platform.read_ranks() == {"a": 0, "b": 1}
    platform.report("a", takes=False)
    assert platform.turn() == {"a": 0, "b": 6}
    assert platform.report("a") == 0
    assert platform.turn() == {"a": 0, "b": 6}
    assert platform.read_ranks() == {"a": 2, "b": 1}
    answer = note(
        {"pool": "cpu", "host": "a", "held": 0, "in_force": 0, "takes": True, "marked": False}, platform._session
    )
    assert answer
    assert (answer["slots"], answer["rank"]) == (0, 2)
    platform.age("decided_at", 130)
    assert [platform.report(host) for host in RULE.hosts] == [8, 8], "without an agent, all slots"
    platform.loop = platform.make_loop()
    platform.turn()
    assert platform.read_ranks() == {"a": None, "b": None}, "tasks are packed no more"


def test_a_person_sees_how_many_hosts_are_needed_and_which_are_empty(platform: Platform) -> None:
    platform.pack()
    platform.add(12, "running")
    platform.turn()
    platform.server.query("UPDATE airfleet.slot_decision SET decided_at = decided_at - interval '3 days'")
    platform.server.query("UPDATE task_instance SET state = 'success'")
    assert platform.turn(61) == {"a": 1, "b": 0}
    with platform.person() as slots:
        assert slots.find_need("cpu", days=7) == HostNeed("cpu", 2, 1, 2, ("b",))
        assert slots.find_need("cpu", days=2).most_needed == 2, "what held when the two days began counts"
    platform.server.query("UPDATE airfleet.worker_slots SET held = 1 WHERE host = 'b'")
    platform.age("decided_at", 1)
    with platform.person() as slots:
        assert slots.find_need("cpu", days=7).empty == (), "it has a task that runs longer"


@pytest.mark.parametrize("scale", ["", ", scale: {}"])
def test_a_host_of_two_pools_is_empty_if_it_is_so_in_both(platform: Platform, scale: str) -> None:
    fleet = load.parse(
        FLEET.replace("{pack: false}}}", f"{{}}}}, memory: {{queues: [memory]{scale}}}}}"),
        file="fleet.yaml",
        default_name="f",
        cpus=2,
    )
    platform.server.query("UPDATE airfleet.worker_slots SET slots = 0, held = 0, seen_at = now()")
    if scale:
        add = "INSERT INTO airfleet.worker_slots (pool, host, slots, otherwise, held, takes, seen_at, decided_at)"
        platform.server.query(
            f"{add} SELECT 'memory', host, (host = 'b')::int, 1, 0, true, now(), now() FROM airfleet.worker_slots"  # noqa: S608
        )
    with psycopg.connect(platform.server.dsn, autocommit=True, row_factory=dict_row) as connection:
        empty = Slots(connection, fleet).find_need("cpu", days=7).empty
    assert empty == (("a",) if scale else ()), "workers of pools that do not scale always have slots"


def test_tasks_that_wait_though_slots_are_free_are_offered_to_all_workers(platform: Platform) -> None:
    platform.pack()
    platform.turn()
    assert platform.turn(61) == {"a": 1, "b": 0}
    platform.add(5, "queued")
    platform.server.query("UPDATE task_instance SET queued_dttm = now() - interval '5 s'")
    assert platform.turn() == {"a": 5, "b": 0}
    platform.server.query("UPDATE task_instance SET queued_dttm = now() - interval '10 min'")
    assert platform.turn() == {"a": 5, "b": 0}
    platform.add(1, "running")
    for _ in range(3):
        platform.server.query("UPDATE task_instance SET start_date = clock_timestamp() WHERE state = 'running'")
        assert platform.turn(20) == {"a": 6, "b": 0}, "tasks begin"
    assert platform.turn(31) == {"a": 5, "b": 1}


def test_a_queue_that_the_packed_worker_does_not_serve_is_offered_to_all_though_tasks_of_another_begin(
    platform: Platform,
) -> None:
    platform.loop = SlotLoop((replace(RULE, queues=("new", "cpu"), pack=True),), clock=lambda: platform.now)
    platform.add(1, "queued")
    platform.server.query("UPDATE task_instance SET queue = 'new', queued_dttm = now() - interval '10 min'")
    platform.add(1, "running")
    for _ in range(4):
        platform.server.query("UPDATE task_instance SET start_date = clock_timestamp() WHERE queue = 'cpu'")
        found = platform.turn(20)
    assert found == {"a": 1, "b": 1}


def test_a_process_that_lost_the_lease_changes_nothing(platform: Platform, server: servers.Server) -> None:
    platform.add(500)
    server.query("UPDATE airfleet.lease SET epoch = epoch + 1, holder = 'other:2' WHERE name = 'agents'")
    with pytest.raises(LeaseLostError):
        platform.loop.once(platform.context)
    assert dict(server.query("SELECT host, slots FROM airfleet.worker_slots")) == {"a": None, "b": None}
    server.query("UPDATE airfleet.lease SET holder = '' WHERE name = 'agents'")


def test_a_worker_learns_that_a_page_has_drained_it_and_its_slots_go_to_the_others(platform: Platform) -> None:
    before = platform.list_workers()["cpu@a"]
    assert (before.state, before.drain) == ("serving", None)
    platform.turn_worker("a", drained=True)
    platform.turn_worker("a", drained=True)  # a second click
    assert platform.is_drained("a", held=2, takes=False)
    assert not platform.is_drained("b")
    draining = platform.list_workers()["cpu@a"]
    assert draining.drain is not None
    assert (draining.state, draining.drain.actor, draining.drain.reason) == ("draining", "ada", "new disk")
    platform.add(8)
    assert platform.turn() == {"a": 1, "b": 8}
    assert platform.is_drained("a", takes=False)
    assert platform.list_workers()["cpu@a"].state == "drained"
    platform.turn_worker("a", drained=False)
    assert not platform.is_drained("a")
    assert platform.list_workers()["cpu@a"].state == "serving"
    rows = platform.server.query("SELECT event, owner, extra FROM log WHERE event ~ '_worker$' ORDER BY id")
    assert [(event, owner, json.loads(extra)) for event, owner, extra in rows][-3:] == [
        (event, "ada", {"workers": ["cpu@a"], "reason": "new disk", "status": 200})
        for event in ("airfleet_drain_worker", "airfleet_drain_worker", "airfleet_resume_worker")
    ]


def test_a_command_resumes_what_a_page_has_drained(platform: Platform) -> None:
    platform.turn_worker("a", drained=True)
    with psycopg.connect(platform.server.dsn, autocommit=True, row_factory=dict_row) as connection:
        page_drains.resume(connection, [Worker("a", "cpu", "drained"), Worker("b", "cpu", "serving")], actor="bob")
    assert platform.list_workers()["cpu@a"].drain is None


def test_a_worker_that_a_command_has_drained_reports_it(platform: Platform) -> None:
    platform.ask("a", takes=False, marked=True)
    worker = platform.list_workers()["cpu@a"]
    assert (worker.state, worker.marked, worker.drain) == ("drained", True, None)


def test_workers_of_pools_that_do_not_scale_are_drained_too(platform: Platform) -> None:
    fixed = FixedPool("io", ("a", "c"), 16)
    assert FixedPool.from_json(json.loads(json.dumps(fixed.to_json()))) == fixed
    platform.loop = SlotLoop((RULE,), clock=lambda: platform.now, fixed=(fixed,))
    platform.turn()
    answer = platform.ask("c", pool="io")
    assert answer is not None
    assert (answer["slots"], answer["rank"], answer["drained"]) == (16, None, False)
    platform.turn_worker("c", drained=True, pool="io")
    platform.turn()
    assert platform.is_drained("c", pool="io", takes=False)
    assert platform.list_workers()["io@c"].state == "drained"
    # A host that leaves fleet.yaml, and comes back some day, is not drained.
    platform.loop = SlotLoop((RULE,), clock=lambda: platform.now)
    platform.turn()
    platform.loop = SlotLoop((RULE,), clock=lambda: platform.now, fixed=(fixed,))
    platform.turn()
    assert not platform.is_drained("c", pool="io")
