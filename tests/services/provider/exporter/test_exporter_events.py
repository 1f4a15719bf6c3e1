"""Starts and ends of tasks and runs are counted once, on Airflow's own tables in a real PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import Connection

import servers
from airfleet_provider.agent_loops.lease import AgentsLease, LeaseLostError, LeaseTerm, Row
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.metrics import OTHER
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.breaker_waits import BreakerWaits
from airfleet_provider.exporter.counters import Counters
from airfleet_provider.exporter.events import EventsLoop
from airfleet_provider.exporter.limits import LabelLimits
from airfleet_provider.exporter.queues import Queues
from clocks import MadeUpClock

RUN = """
INSERT INTO dag_run (dag_id, run_id, state, run_type, run_after, start_date, end_date, clear_number, span_status, conf)
VALUES (%s, %s, %s, 'scheduled', now() - interval '100 s', now() - interval '97 s', now() - interval '87 s', 0,
    'ended', '{}') RETURNING id
"""
TASK = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, scheduled_dttm, queued_dttm, start_date, end_date, span_status, executor_config)
VALUES (gen_random_uuid(), %s, %s, %s, -1, %s, %s, 1, 'default_pool', 1, %s, 1, now() - interval '50 s',
    now() - interval '49 s', now() - interval '46 s', now() - interval '16 s', 'ended', ''::bytea)
"""
# Statements come one after another, on a busy machine seconds later. These tasks have the same times.
AT_ONCE = """
UPDATE task_instance SET scheduled_dttm = now() - interval '50 s', queued_dttm = now() - interval '49 s',
    start_date = now() - interval '46 s', end_date = now() - interval '16 s'
"""
LOG = """
INSERT INTO log (dttm, event, dag_id, run_id, task_id, map_index, try_number)
SELECT coalesce((SELECT start_date FROM task_instance WHERE task_id = one.task_id), now()), one.* FROM
    (VALUES (%s, %s, %s, %s, -1, %s)) AS one (event, dag_id, run_id, task_id, map_index, try_number)
"""


@dataclass
class Bench:
    """The loop as an active agents process runs it, and the database that it reads."""

    server: servers.Server
    clock: MadeUpClock = field(default_factory=MadeUpClock)
    board: Board = field(default_factory=Board)

    def __post_init__(self) -> None:
        holder = "host:1"
        [[epoch]] = self.server.query(
            "UPDATE airfleet.lease SET epoch = epoch + 1, holder = %s WHERE name = 'agents' RETURNING epoch", holder
        )
        lease = AgentsLease(holder, clock=self.clock)
        lease.note(LeaseTerm(epoch, float("inf")))
        database = {"conninfo": self.server.dsn}
        self.context = Context("events", {}, lease, threading.Event(), lambda name: connect(database, name))
        waits = BreakerWaits([BreakerRule("crm", dag="sales")])
        self.events = EventsLoop(self.board, LabelLimits(), Queues(("default",), False), waits, clock=self.clock)

    def turn(self) -> None:
        self.clock.now += 10
        self.events.once(self.context)

    def read(self, name: str) -> dict[tuple[str, ...], tuple[float, ...]]:
        return dict(self.board.facts["events"].series.get(name, {}))

    def query(self, statement: str, *words: object) -> list[tuple[Any, ...]]:
        return self.server.query(statement, *words)


@pytest.fixture
def bench(server: servers.Server) -> Bench:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "TRUNCATE log, task_instance, task_instance_history, dag_run, dag,"
            " airfleet.metric_counter, airfleet.metric_reader, airfleet.breaker CASCADE"
        )
    server.query("ALTER ROLE postgres SET session_replication_role = replica")  # rows without all their parents
    one = Bench(server)
    one.turn()
    return one


def test_each_start_and_end_is_counted_once_whoever_is_active(bench: Bench, server: servers.Server) -> None:
    bench.query(TASK, "a", "r", "t", "success", 1, "default")
    bench.query(LOG, "running", "a", "r", "t", 1)
    bench.turn()
    bench.turn()
    bench.query(LOG, "success", "a", "r", "t", 1)
    other = Bench(server)
    other.turn()
    other.turn()
    assert other.read("airfleet_task_tries_total") == {("a", "success"): (1.0,)}
    for name, seconds in (("ready", 1.0), ("queue", 3.0), ("start", 4.0), ("run", 30.0)):
        [(labels, amounts)] = other.read(f"airfleet_task_{name}_seconds").items()
        assert labels == ("default", "default_pool")
        assert sum(amounts[:-1]) == 1
        assert amounts[-1] == pytest.approx(seconds, abs=0.01)


def test_what_was_there_before_the_first_turn_is_not_counted(server: servers.Server, bench: Bench) -> None:
    server.query("TRUNCATE airfleet.metric_reader")
    bench.query(TASK, "a", "r", "t", "success", 1, "default")
    bench.query(LOG, "success", "a", "r", "t", 1)
    other = Bench(server)
    other.turn()
    assert other.read("airfleet_task_tries_total") == {}


def test_a_try_that_is_followed_by_another_is_no_failure(bench: Bench) -> None:
    bench.query(TASK, "a", "r", "t", "running", 2, "default")
    bench.query(LOG, "failed", "a", "r", "t", 1)
    bench.query(LOG, "failed", "a", "r", "t", 2)
    bench.query("UPDATE task_instance SET state = 'failed'")
    bench.turn()
    assert bench.read("airfleet_task_tries_total") == {("a", "up_for_retry"): (1.0,), ("a", "failed"): (1.0,)}


def test_a_queue_that_nobody_serves_gets_no_series_of_its_own(bench: Bench) -> None:
    for number in range(30):
        bench.query(TASK, "a", "r", f"t{number}", "running", 1, f"evil\n{number}")
        bench.query(LOG, "running", "a", "r", f"t{number}", 1)
    bench.turn()
    assert set(bench.read("airfleet_task_start_seconds")) == {(OTHER, "default_pool")}


def test_a_start_whose_row_is_gone_is_lost_and_said_to_be(bench: Bench) -> None:
    bench.query(LOG, "running", "a", "r", "gone", 1)
    bench.turn()
    assert bench.read("airfleet_task_events_lost_total") == {(): (1.0,)}


def test_clocks_that_differ_make_no_negative_times(bench: Bench) -> None:
    bench.query(TASK, "a", "r", "t", "running", 1, "default")
    bench.query("UPDATE task_instance SET queued_dttm = now() + interval '1 s'")
    bench.query(LOG, "running", "a", "r", "t", 1)
    bench.turn()
    assert bench.read("airfleet_task_clock_skew_total")[()][0] >= 1
    assert bench.read("airfleet_task_queue_seconds")["default", "default_pool"][-1] == 0


def test_runs_are_counted_when_they_end_also_those_that_were_never_seen_to_run(bench: Bench) -> None:
    [[slow]] = bench.query(RUN, "slow", "r", "running")
    bench.query(RUN, "fast", "r", "failed")
    bench.turn()
    bench.turn()
    assert bench.read("airfleet_dag_runs_total") == {("fast", "failed"): (1.0,)}
    bench.query("UPDATE dag_run SET state = 'success' WHERE id = %s", slow)
    bench.turn()
    bench.turn()
    assert bench.read("airfleet_dag_runs_total")["slow", "success"] == (1.0,)
    [delay] = bench.read("airfleet_dag_run_delay_seconds").values()
    assert sum(delay[:-1]) == 2
    assert delay[-1] == pytest.approx(6.0, abs=0.01)
    assert bench.read("airfleet_dag_last_run_seconds")["slow",][0] == pytest.approx(10.0, abs=0.01)


def test_a_run_that_is_cleared_ends_once_more(bench: Bench) -> None:
    [[run]] = bench.query(RUN, "a", "r", "success")
    bench.turn()
    bench.query("UPDATE dag_run SET state = 'queued', clear_number = 1 WHERE id = %s", run)
    bench.turn()
    bench.query("UPDATE dag_run SET state = 'success' WHERE id = %s", run)
    bench.turn()
    assert bench.read("airfleet_dag_runs_total") == {("a", "success"): (2.0,)}
    [delay] = bench.read("airfleet_dag_run_delay_seconds").values()
    assert sum(delay[:-1]) == 1, "a run that starts again is not late"


def test_a_connection_that_is_lost_in_the_middle_counts_nothing_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Counters.save

    def save_and_lose(counters: Counters, connection: Connection[Row]) -> None:
        original(counters, connection)
        bench.query("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)

    bench.query(TASK, "a", "r", "t", "success", 1, "default")
    bench.query(LOG, "success", "a", "r", "t", 1)
    monkeypatch.setattr(Counters, "save", save_and_lose)
    with pytest.raises(psycopg.OperationalError):
        bench.turn()
    monkeypatch.undo()
    bench.context.disconnect()
    bench.turn()
    bench.turn()
    assert bench.read("airfleet_task_tries_total") == {("a", "success"): (1.0,)}


def test_a_former_holder_writes_nothing(bench: Bench) -> None:
    bench.query(LOG, "success", "a", "r", "t", 1)
    bench.query("UPDATE airfleet.lease SET epoch = epoch + 1, holder = 'other:2' WHERE name = 'agents'")
    with pytest.raises(LeaseLostError):
        bench.turn()
    assert bench.query("SELECT count(*) FROM airfleet.metric_counter WHERE name = 'airfleet_task_tries_total'") == [
        (0,)
    ]


def test_series_of_a_dag_that_was_deleted_end(bench: Bench) -> None:
    bench.query(RUN, "gone", "r", "success")
    bench.turn()
    bench.clock.now += 600
    bench.turn()
    assert bench.read("airfleet_dag_runs_total") == {}
    assert bench.query("SELECT count(*) FROM airfleet.metric_counter WHERE 'gone' = ANY(labels)") == [(0,)]


def test_a_backlog_is_read_in_several_transactions(bench: Bench) -> None:
    bench.query(TASK, "a", "r", "t", "success", 1, "default")
    bench.query(
        "INSERT INTO log (dttm, event, dag_id, run_id, task_id, map_index, try_number)"
        " SELECT now(), 'success', 'a', 'r', 't', -1, 1 FROM generate_series(1, 5000)"
    )
    bench.turn()
    assert bench.read("airfleet_task_tries_total") == {("a", "success"): (5000.0,)}


def test_after_a_restore_of_an_older_backup_new_rows_are_counted(bench: Bench) -> None:
    bench.query("UPDATE airfleet.metric_reader SET position = jsonb_set(position, '{log,low}', '1000000000')")
    other = Bench(bench.server)
    other.turn()
    bench.query(TASK, "a", "r", "t", "success", 1, "default")
    bench.query(LOG, "success", "a", "r", "t", 1)
    other.turn()
    assert other.read("airfleet_task_tries_total") == {("a", "success"): (1.0,)}


def test_a_wait_for_a_full_pool_or_for_the_run_is_no_late_start(bench: Bench) -> None:
    """More tasks wait than there is room for. Those that started have waited 1 s for room, and 3 s for a worker."""
    bench.query("INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('few', 2, false)")
    bench.query(
        "INSERT INTO dag (dag_id, is_paused, is_stale, bundle_name, timetable_type, partition_mapper_info,"
        " max_active_tasks, max_consecutive_failed_dag_runs, has_task_concurrency_limits)"
        " VALUES ('b', false, false, 'x', '', '[]', 1, 0, false)"
    )
    tasks = (
        ("a", "running", "few"), ("a", "scheduled", "few"), ("a", "scheduled", "few"), ("b", "running", "wide"),
        ("b", "scheduled", "wide"), ("c", "running", "wide"), ("c", "scheduled", "wide"),
    )  # fmt: skip
    for number, (dag, state, pool) in enumerate(tasks):
        bench.query(TASK, dag, "r", f"t{number}", state, 1, "default")
        bench.query("UPDATE task_instance SET pool = %s WHERE task_id = %s", pool, f"t{number}")
    bench.query(AT_ONCE)
    for number, (dag, state, _) in enumerate(tasks):
        if state == "running":
            bench.query(LOG, "running", dag, "r", f"t{number}", 1)
    bench.turn()
    started = {labels[1]: amounts for labels, amounts in bench.read("airfleet_task_start_seconds").items()}
    assert (sum(started["few"][:-1]), started["few"][-1]) == (1, pytest.approx(3.0, abs=0.01))
    assert (sum(started["wide"][:-1]), started["wide"][-1]) == (2, pytest.approx(3.0 + 4.0, abs=0.01))
    assert sum(amounts[-1] for amounts in bench.read("airfleet_task_ready_seconds").values()) == pytest.approx(
        3, abs=0.1
    )


def test_the_last_tasks_of_a_crowd_waited_for_room_too(bench: Bench) -> None:
    bench.query("INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('fewer', 1, false)")
    for name in ("first", "last"):
        bench.query(TASK, "a", "r", name, "scheduled", 1, "default")
    bench.query("UPDATE task_instance SET pool = 'fewer'")
    bench.query(AT_ONCE)
    bench.turn()
    bench.query("UPDATE task_instance SET state = 'running'")
    bench.query(LOG, "running", "a", "r", "last", 1)
    bench.turn()
    [amounts] = bench.read("airfleet_task_start_seconds").values()
    assert amounts[-1] == pytest.approx(3.0, abs=0.01)


def test_a_dag_has_its_counter_of_failures_before_it_fails(bench: Bench) -> None:
    """Prometheus takes the first value of a counter for no growth, so a first burst would raise no alert."""
    for name, is_paused in (("nightly", False), ("paused", True)):
        bench.query(
            "INSERT INTO dag (dag_id, is_paused, is_stale, bundle_name, timetable_type, partition_mapper_info,"
            " max_active_tasks, max_consecutive_failed_dag_runs, has_task_concurrency_limits)"
            " VALUES (%s, %s, false, 'x', '', '[]', 1, 0, false)",
            *(name, is_paused),
        )
    bench.clock.now += 60
    bench.turn()
    assert bench.read("airfleet_task_tries_total") == {("nightly", "failed"): (0.0,)}


@pytest.mark.parametrize(
    ("state", "moved", "late_s"),
    [
        ("closed", "50.8 s", 4.0),  # it closed before the tasks might run
        ("closed", "49.5 s", 3.5),  # half a second after they might
        ("closed", "20 s", 3.0),  # when they had a slot already
        ("half-open", "60 s", 3.0),
    ],
)
def test_a_wait_for_a_breaker_is_no_late_start(bench: Bench, state: str, moved: str, late_s: float) -> None:
    """A task may run after 50 s, gets a slot at 49 s, and runs at 46 s before now."""
    for dag in ("sales", "others"):
        bench.query(TASK, dag, "r", dag, "running", 1, "default")
        bench.query(LOG, "running", dag, "r", dag, 1)
    # From the times of the task, and not by the clock: on a busy machine this statement comes later.
    bench.query(
        "INSERT INTO airfleet.breaker (name, state, generation, changed_at)"
        " SELECT 'crm', %s, 4, scheduled_dttm + interval '50 s' - %s::interval FROM task_instance"
        " WHERE dag_id = 'sales'",
        *(state, moved),
    )
    bench.turn()
    [amounts] = bench.read("airfleet_task_start_seconds").values()
    assert amounts[-1] == pytest.approx(late_s + 4.0, abs=0.1), "the other task has no breaker"


def test_each_promise_that_ends_is_counted_once_whoever_is_active(bench: Bench, server: servers.Server) -> None:
    bench.query("TRUNCATE airfleet.sla_instance, airfleet.sla_engine")

    def evaluate(minute: int, *ended: str) -> None:
        """What the engine writes in one transaction."""
        rules = '[{"rule": {"name": "marts", "kind": "must-run"}}]'
        bench.query(
            "WITH moment AS (SELECT now() - interval '1 hour' + make_interval(mins => %s) AS at), engine AS ("
            " INSERT INTO airfleet.sla_engine (evaluated_at, rules) SELECT at, %s::jsonb FROM moment"
            " ON CONFLICT (id) DO UPDATE SET evaluated_at = excluded.evaluated_at, rules = excluded.rules)"
            " INSERT INTO airfleet.sla_instance (rule, kind, dag_id, occasion, state, starts_at, due_at, changed_at,"
            " ended_at) SELECT 'marts', 'must-run', 'd', at::text || n, state, at, at, at, at"
            " FROM moment, unnest(%s::text[]) WITH ORDINALITY AS one (state, n)",
            *(minute, rules, list(ended)),
        )

    evaluate(0, "met", "missed")
    bench.turn()
    met, missed = (("marts", "must-run", state) for state in ("met", "missed"))
    assert bench.read("airfleet_sla_ended_total") == {met: (0.0,), missed: (0.0,)}, "from before the first turn"
    evaluate(1, "met", "met", "missed")
    bench.turn()
    evaluate(2)
    bench.turn()
    other = Bench(server)
    evaluate(3, "met")
    other.turn()
    other.turn()
    assert other.read("airfleet_sla_ended_total") == {met: (3.0,), missed: (1.0,)}
