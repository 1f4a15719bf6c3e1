"""Breakers in a real database: reports of tasks open them, the loop probes and closes them, the gate holds tasks."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import psycopg
import psycopg2
import pytest
from airflow.models.taskinstance import TaskInstance
from psycopg.rows import dict_row
from sqlalchemy import ScalarResult, Select, create_engine, func, select
from sqlalchemy.orm import Session

import servers
from airfleet_provider.agent_loops.lease import AgentsLease, LeaseLostError
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.breakers.gate import Gate
from airfleet_provider.breakers.loop import BreakerLoop, make_loop
from airfleet_provider.breakers.messages import Failed, GateAnswer, Starts, decode, encode
from airfleet_provider.breakers.reports import Reports
from airfleet_provider.breakers.stand_in import _Context
from airfleet_provider.compat.patches import held_tasks
from airfleet_provider.compat.patches.held_tasks import Held
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.service_limits import ServiceLimit

RULE = BreakerRule("crm", dag="sales", probe_after_s=0.0)
USED = BreakerRule("dwh", connection="dwh_.*", workers=1)
NARROWED = BreakerRule("lake", connection="lake_.*", dag="sales", tag="lake", workers=1)
CODE = BreakerRule("code")
RULES = {rule.name: rule for rule in (RULE, USED, NARROWED, CODE)}
DAG = """
INSERT INTO dag (dag_id, is_paused, is_stale, exceeds_max_non_backfill, bundle_name, timetable_type,
    timetable_partitioned, timetable_periodic, partition_mapper_info, max_active_tasks, max_consecutive_failed_dag_runs,
    has_task_concurrency_limits, fail_fast, has_import_errors)
SELECT n, false, false, false, 'b', '', false, true, '{}', 16, 0, false, false, false FROM unnest(%s::text[]) n
"""
RUN = """
INSERT INTO dag_run (dag_id, run_id, state, run_type, run_after, logical_date, created_at, updated_at, clear_number,
    context_carrier, span_status)
SELECT n, 'r', 'running', 'manual', now(), now(), now(), now(), 0, '{}', 'ended' FROM unnest(%s::text[]) n
"""
TASK = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, hostname, span_status, executor_config)
VALUES (%s, %s, 'r', 'load', %s, 'scheduled', 1, 1, 'default_pool', 1, 'default', 1, %s, 'ended', ''::bytea)
"""
AWAY = Failed(("crm",), (), "ConnectionRefusedError")


class Platform:
    """Forty tasks that wait, twenty of each of two Dags, and what works on their breakers."""

    def __init__(self, server: servers.Server) -> None:
        self.server = server
        server.query("ALTER ROLE postgres SET session_replication_role = replica")  # rows without all their parents
        tables = "breaker, breaker_event, breaker_failure, breaker_task, breaker_probe"
        own = ", ".join(f"airfleet.{name}" for name in tables.split(", "))
        server.query(f"TRUNCATE task_instance, dag_run, dag_tag, dag, {own} CASCADE")
        server.query(DAG, ["sales", "other"])
        server.query(RUN, ["sales", "other"])
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


@pytest.fixture
def platform(server: servers.Server) -> Iterator[Platform]:
    platform = Platform(server)
    yield platform
    with platform.context.share() as connection:
        platform.lease.release(connection)
    platform.context.disconnect()


def test_two_tasks_on_two_hosts_open_it_and_the_scheduler_holds_its_tasks(platform: Platform) -> None:
    assert platform.gate.find_held() == ()
    assert platform.fail(0).wait_s is not None
    assert platform.fail(2).wait_s is not None, "another task on the same host"
    assert platform.read()[0] == "closed"
    assert platform.fail(1).why == "it opens"
    assert platform.read()[0] == "open"
    [held] = platform.gate.find_held()
    assert (held.tasks, held.exempt) == ({("sales", "load")}, frozenset())
    assert platform.reports.answer(platform.tasks[7], Starts(("crm",), ())).breaker == "crm"
    assert platform.reports.answer(platform.others[0], Starts((), ())).wait_s is None


def test_the_scheduler_compares_no_task_with_each_of_those_that_are_held(platform: Platform) -> None:
    many = frozenset({("sales", "load"), *((f"it's {number}", "load") for number in range(3000))})
    asked: list[Select[Any]] = []

    def queue(_: object, most: int, session: Session) -> set[str]:
        rank = func.row_number().over(order_by=TaskInstance.map_index).label("rank")
        ranked = select(TaskInstance.id, rank).where(TaskInstance.state == "scheduled").subquery()
        query = select(TaskInstance.id).join(ranked, TaskInstance.id == ranked.c.id).where(ranked.c.rank <= most)
        return {str(one) for one in session.scalars(query)}

    (patched,) = held_tasks._make(queue, lambda: [Held(many, frozenset({platform.tasks[3]}))])
    engine = create_engine(platform.server.dsn.replace("postgresql:", "postgresql+psycopg2:"))

    def scalars(query: Select[Any]) -> ScalarResult[Any]:
        asked.append(query)
        return session.scalars(query)

    with Session(engine) as session:
        found = patched(None, 21, session=SimpleNamespace(scalars=scalars))
        assert found == {*platform.others, platform.tasks[3]}
        query = asked[0].compile(engine, compile_kwargs={"render_postcompile": True})
        plan = session.connection().exec_driver_sql(f"EXPLAIN {query}", query.params).scalars().all()
    engine.dispose()
    assert sum("hashed SubPlan" in line for line in plan) == 2, plan


def test_a_task_that_fails_alone_waits_three_times_and_then_fails(platform: Platform) -> None:
    answers = []
    for _ in range(5):
        answers.append(platform.fail(4).wait_s is not None)
        platform.age_failures()
    assert answers == [True, True, True, False, False]
    assert platform.read()[0] == "closed"


def test_the_loop_probes_with_one_and_then_lets_waves_through(platform: Platform) -> None:
    platform.fail(0)
    platform.fail(1)
    seen = []
    for _ in range(20):
        state, wave = platform.turn()
        probes = platform.list_probes()
        seen.append((state, wave, len(probes)))
        if state == "closed":
            break
        if probes:
            [held] = platform.gate.find_held()
            assert set(probes) <= held.exempt
            assert platform.reports.answer(probes[0], Starts(("crm",), ())).wait_s is None, "a probe may call"
        platform.end(probes)
    assert [wave for state, wave, count in seen if count] == [1, 2, 4, 8]
    assert all(count <= wave for _, wave, count in seen)
    assert seen[-1][0] == "closed"
    assert platform.gate.find_held() == ()
    assert platform.server.query("SELECT waiting FROM airfleet.breaker WHERE name = 'crm'") == [(0,)]


def test_a_probe_that_fails_opens_it_again_and_another_task_probes_next(platform: Platform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.turn()
    platform.turn()
    [first] = platform.list_probes()
    assert platform.reports.answer(first, AWAY).wait_s is not None
    assert platform.turn()[0] == "open"
    platform.server.query("UPDATE airfleet.breaker SET probe_at = now()")
    platform.turn()
    platform.turn()
    [second] = platform.list_probes()
    assert second != first


def test_a_probe_that_cannot_start_is_replaced(platform: Platform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.turn()
    platform.turn()
    [first] = platform.list_probes()
    platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '1 minute'")
    platform.turn()
    [second] = platform.list_probes()
    assert second != first


def test_no_wave_grows_while_no_probe_can_start(platform: Platform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.turn()
    for _ in range(12):
        assert platform.turn() == ("half-open", 1)
        [probe] = platform.list_probes()
        [held] = platform.gate.find_held()
        assert held.exempt == {probe}, "those before it are held again, so no more than one calls the service"
        platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '1 minute'")


def test_it_closes_after_some_minutes_in_which_no_task_waits(platform: Platform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.end(platform.tasks, "up_for_retry")
    assert platform.turn() == ("half-open", 1)
    assert platform.turn() == ("half-open", 1)
    platform.server.query("UPDATE airfleet.breaker SET changed_at = now() - interval '6 minutes'")
    platform.end(platform.tasks[:1], "scheduled")
    assert platform.turn() == ("half-open", 1), "a task waits"
    platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '6 minutes'")
    platform.end(platform.tasks[:1], "removed")
    assert platform.turn()[0] == "closed"


def test_a_probe_that_runs_for_long_has_got_through_but_its_time_in_the_queue_does_not_count(
    platform: Platform,
) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.turn()
    platform.turn()
    probes = platform.list_probes()
    platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '6 minutes'")
    platform.server.query("UPDATE task_instance SET start_date = now() - interval '1 minute'")
    platform.end(probes, "running")
    assert platform.turn() == ("half-open", 1)
    platform.server.query("UPDATE task_instance SET start_date = now() - interval '6 minutes'")
    assert platform.turn() == ("half-open", 2)


def test_a_task_of_two_half_open_breakers_is_a_probe_of_both(platform: Platform) -> None:
    both = (RULE, BreakerRule("all", dag="sales|other"))
    platform.loop = BreakerLoop(both)
    platform.end(platform.others[2:])
    for rule in both:
        platform.server.query("INSERT INTO airfleet.breaker (name, state, wave) VALUES (%s, 'half-open', 1)", rule.name)
    for _ in range(60):
        platform.turn()
        rows = platform.server.query(
            "SELECT p.instance::text, array_agg(b.name ORDER BY b.name) FROM airfleet.breaker_probe p"
            " JOIN airfleet.breaker b ON b.name = p.breaker AND b.generation = p.generation AND b.state = 'half-open'"
            " WHERE p.outcome = 'chosen' GROUP BY 1"
        )
        open_ones = {
            name for (name,) in platform.server.query("SELECT name FROM airfleet.breaker WHERE state <> 'closed'")
        }
        for instance, names in rows:
            keepers = {"all", "crm"} if instance in platform.tasks else {"all"}
            assert set(names) == keepers & open_ones, "nothing else keeps a probe from starting"
        if not open_ones:
            break
        platform.end([instance for instance, _ in rows])
    assert not open_ones


def test_the_only_task_that_waits_is_chosen_again_until_it_can_start(platform: Platform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.end(platform.tasks[1:])
    platform.turn()
    for _ in range(3):
        platform.turn()
        assert platform.list_probes() == [platform.tasks[0]]
        platform.server.query("UPDATE airfleet.breaker_probe SET chosen_at = now() - interval '1 minute'")
    platform.turn()
    platform.end(platform.tasks[:1])
    assert platform.turn() == ("half-open", 2)
    assert platform.turn()[0] == "closed"


def test_a_task_that_reads_a_connection_belongs_to_its_breaker(platform: Platform) -> None:
    away = Failed((), ("dwh",), "TimeoutError")
    assert platform.reports.answer(platform.others[0], away).wait_s is None
    platform.reports.add_user(platform.others[0], "dwh_main")
    platform.reports.add_user(platform.tasks[0], "crm_main")
    assert platform.reports.answer(platform.others[0], away).wait_s is not None
    platform.reports.answer(platform.others[1], away)
    [held] = platform.gate.find_held()
    assert held.tasks == {("other", "load")}


def test_a_task_cannot_open_the_breaker_of_others(platform: Platform) -> None:
    for instance in platform.others[:8]:
        assert platform.reports.answer(instance, AWAY).wait_s is None
    assert platform.read() == ("none", 0)


def test_a_task_joins_no_breaker_whose_rule_is_about_the_names_of_others(platform: Platform) -> None:
    for instance in platform.others[:4]:
        platform.reports.answer(instance, Starts((), ("crm",)))
        assert platform.reports.answer(instance, Failed((), ("crm",), "TimeoutError")).wait_s is None
    assert platform.list_members("crm") == []
    # It joined before this was checked.
    platform.server.query("INSERT INTO airfleet.breaker_task VALUES ('crm', 'other', 'load')")
    for instance in platform.others[:4]:
        assert platform.reports.answer(instance, Failed((), ("crm",), "TimeoutError")).wait_s is None
    assert platform.read() == ("none", 0)
    platform.fail(0)
    platform.fail(1)
    [held] = platform.gate.find_held()
    assert held.tasks == {("sales", "load")}


def test_code_joins_a_breaker_that_only_code_names(platform: Platform) -> None:
    platform.reports.answer(platform.others[0], Starts((), ("code",)))
    assert platform.list_members("code") == [("other", "load")]


def test_the_other_expressions_of_a_rule_about_a_connection_narrow_it_down(platform: Platform) -> None:
    away = Failed(("lake",), ("lake",), "TimeoutError")

    def read_and_fail(instances: list[str]) -> bool:
        for instance in instances:
            platform.reports.add_user(instance, "lake_main")
        waits = [platform.reports.answer(instance, away).wait_s for instance in instances]
        return waits[-1] is not None

    assert not read_and_fail(platform.tasks[:2]), "the Dag does not have the tag"
    platform.server.query("INSERT INTO dag_tag (name, dag_id) VALUES ('lake', 'sales'), ('lake', 'other')")
    assert not read_and_fail(platform.others[:2]), "it is another Dag"
    assert platform.list_members("lake") == []
    assert read_and_fail(platform.tasks[:2])
    platform.server.query("INSERT INTO airfleet.breaker_task VALUES ('lake', 'other', 'load')")
    [held] = platform.gate.find_held()
    assert held.tasks == {("sales", "load")}


def test_a_failure_keeps_a_breaker_open_no_longer_than_a_probe_may(platform: Platform) -> None:
    for number, asked in ((0, None), (1, 3600.0)):
        platform.reports.answer(platform.tasks[number], Failed(("crm",), (), "TimeoutError", asked))
    [(wait_s,)] = platform.server.query("SELECT extract(epoch FROM probe_at - changed_at)::float FROM airfleet.breaker")
    assert 0 < wait_s <= RULE.probe_at_most_s + 1


def test_a_task_that_reports_again_and_again_is_counted_once(platform: Platform) -> None:
    for _ in range(20):
        platform.fail(3)
    assert platform.server.query("SELECT count(*) FROM airfleet.breaker_failure") == [(1,)]
    platform.age_failures()
    platform.fail(3)
    assert platform.server.query("SELECT count(*) FROM airfleet.breaker_failure") == [(2,)]


def test_a_text_that_the_database_cannot_hold_is_cut(platform: Platform) -> None:
    forged = decode(encode(Failed(("crm\0", "crm\ud800"), (), "Err\0or\ud800", float("nan"))))
    assert forged == Failed(("crm", "crm"), (), "Error", 0.0)
    assert platform.reports.answer(platform.tasks[0], forged).wait_s is not None


def test_many_tasks_that_report_at_once_open_it_once(platform: Platform) -> None:
    def report(instance: str) -> GateAnswer:
        return Reports(RULES, platform.connect).answer(instance, AWAY)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(report, platform.tasks))
    assert all(answer.wait_s is not None for answer in answers)
    assert platform.server.query("SELECT state, generation FROM airfleet.breaker") == [("open", 1)]
    assert len(platform.server.query("SELECT id FROM airfleet.breaker_event")) == 1


def test_a_breaker_that_fleet_yaml_no_longer_names_keeps_nothing(platform: Platform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.loop = BreakerLoop(())
    assert platform.turn()[0] == "closed"


def test_a_breaker_that_a_person_opened_never_probes_by_itself(platform: Platform) -> None:
    from airfleet.operations.breakers import Breakers  # noqa: PLC0415
    from airfleet_provider.contract.breaker_rules import BreakerState  # noqa: PLC0415
    from places import parse  # noqa: PLC0415

    fleet = parse("breakers: {crm: {dag: sales}}")
    with psycopg.connect(platform.server.dsn, autocommit=True, row_factory=dict_row) as connection:
        breakers = Breakers(connection, fleet)
        assert [one.state for one in breakers.list_breakers()] == ["closed"]
        breakers.move("crm", BreakerState.OPEN, reason="maintenance", actor="eve@desk")
        for _ in range(3):
            assert platform.turn()[0] == "open"
        [found] = breakers.list_breakers()
        assert (found.waiting, found.probe_at, found.actor) == (20, None, "eve@desk")
        breakers.move("crm", BreakerState.CLOSED, reason="done", actor="eve@desk")
        assert platform.gate.find_held() == ()
        assert [one.state for one in breakers.list_events("crm", limit=9)] == ["closed", "open"]
    audit = platform.server.query("SELECT event, owner FROM log ORDER BY id DESC LIMIT 2")
    assert audit == [("airfleet_breaker_closed", "eve@desk"), ("airfleet_breaker_open", "eve@desk")]


def test_tasks_that_no_longer_exist_and_breakers_that_were_removed_are_forgotten(platform: Platform) -> None:
    rows = [("dwh", "sales", "load"), ("dwh", "sales", "load_of_before"), ("removed", "sales", "load")]
    for row in rows:
        platform.server.query("INSERT INTO airfleet.breaker_task (breaker, dag_id, task_id) VALUES (%s, %s, %s)", *row)
    platform.turn()
    assert platform.server.query("SELECT breaker, dag_id, task_id FROM airfleet.breaker_task") == [rows[0]]


def test_the_rows_of_the_last_limit_go_when_fleet_yaml_has_no_limit_any_more(platform: Platform) -> None:
    def count() -> list[int]:
        tables = ("service_limit", "service_grant")
        return [platform.server.query(f"SELECT count(*) FROM airfleet.{one}")[0][0] for one in tables]  # noqa: S608

    platform.server.query("TRUNCATE airfleet.service_limit, airfleet.service_grant")
    platform.server.query("INSERT INTO airfleet.service_limit (name) VALUES ('crm')")
    platform.server.query(
        "INSERT INTO airfleet.service_grant (limit_name, dag_id, instance, outcome, granted_at)"
        " VALUES ('crm', 'sales', gen_random_uuid(), 'used', now() - interval '3 hours')"
    )
    limit = ServiceLimit(RULES["crm"], starts_per_minute=60)
    make_loop({AgentsKey.LIMITS: {"limits": [limit.to_json()]}}).once(platform.context)
    assert count() == [1, 1], "the scheduler uses them"
    make_loop({}).once(platform.context)
    assert count() == [0, 0]


def test_without_agents_the_scheduler_itself_probes_and_closes_it(platform: Platform) -> None:
    platform.fail(0)
    platform.fail(1)
    assert platform.gate.find_held()
    assert platform.read()[0] == "open"
    platform.gate.find_held()
    assert platform.read()[0] == "open", "the agents are there"
    platform.server.query(
        "UPDATE airfleet.lease SET renewed_at = renewed_at - interval '2 minutes' WHERE name = 'agents'"
    )
    seen = []
    for _ in range(40):
        platform.gate.find_held()
        platform.end(platform.list_probes())
        seen.append(platform.read())
    assert dict.fromkeys(seen) == dict.fromkeys([*[("half-open", wave) for wave in (1, 2, 4, 8)], ("closed", 0)])
    assert platform.gate.find_held() == ()


def test_agents_that_come_back_wait_for_the_scheduler_and_it_stops(platform: Platform) -> None:
    platform.fail(0)
    platform.fail(1)
    platform.server.query(
        "UPDATE airfleet.lease SET renewed_at = renewed_at - interval '2 minutes' WHERE name = 'agents'"
    )
    connection = platform.connect()
    with _Context(connection).write(), pytest.raises(psycopg.errors.LockNotAvailable):
        platform.server.query(
            "SET lock_timeout = 50; UPDATE airfleet.lease SET renewed_at = now() WHERE name = 'agents'"
        )
    platform.server.query("UPDATE airfleet.lease SET renewed_at = clock_timestamp() WHERE name = 'agents'")
    with pytest.raises(LeaseLostError), _Context(connection).write():
        raise AssertionError("the agents are back")
