"""What is so now is read from Airflow's own tables as an operator would count it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

import servers
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.contract.metrics import METRICS, OTHER
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.dags import Dags
from airfleet_provider.exporter.database import DatabaseLoop
from airfleet_provider.exporter.limits import LabelLimits
from airfleet_provider.exporter.queues import Queues
from airfleet_provider.exporter.state import StateLoop, Workers
from deadline import PATIENCE_S

TASK = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, scheduled_dttm, queued_dttm, hostname, span_status, executor_config)
SELECT gen_random_uuid(), 'a', 'r', %s || n, -1, %s, 1, 1, %s, 2, %s, 1, now() - interval '50 s',
    now() - interval '40 s', 'worker-1', 'ended', ''::bytea FROM generate_series(1, %s) n
"""
DAG = """
INSERT INTO dag (dag_id, is_paused, is_stale, exceeds_max_non_backfill, bundle_name, timetable_type,
    timetable_partitioned, timetable_periodic, partition_mapper_info, max_active_tasks, max_consecutive_failed_dag_runs,
    has_task_concurrency_limits, fail_fast, has_import_errors, next_dagrun_create_after)
VALUES (%s, %s, %s, %s, 'b', '', false, true, '{}', 16, 0, false, false, %s, now() - make_interval(secs => %s))
"""
Read = Callable[[str], dict[tuple[str, ...], float]]


@pytest.fixture
def database(server: servers.Server) -> servers.Server:
    server.query("ALTER ROLE postgres SET session_replication_role = replica")  # rows without all their parents
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE task_instance, dag_run, dag, slot_pool, job, airfleet.pointer CASCADE")
    server.query(
        "INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('crm', 9, true), ('default_pool', 4, false)"
    )
    return server


def read(server: servers.Server, loop: StateLoop | Dags | DatabaseLoop, board: Board, name: str) -> Read:
    database = {"conninfo": server.dsn}
    lease = AgentsLease("host:1")
    context = Context(name, {}, lease, threading.Event(), lambda own: connect(database, own))
    loop.once(context)
    context.disconnect()
    series = board.facts[name].series
    return lambda metric: {labels: amounts[0] for labels, amounts in series.get(metric, {}).items()}


def test_slots_queues_and_workers_add_up(database: servers.Server) -> None:
    database.query(TASK, "r", "running", "crm", "default", 2)
    database.query(TASK, "q", "queued", "crm", "default", 1)
    database.query(TASK, "d", "deferred", "crm", "default", 1)
    database.query(TASK, "e", "deferred", "default_pool", "default", 1)
    database.query(TASK, "s", "scheduled", "default_pool", "evil", 3)
    database.query(TASK, "f", "success", "default_pool", "default", 5)
    board = Board()
    workers = [Workers("cpu", frozenset({"default"}), 8), Workers("idle", frozenset({"other"}), 2)]
    found = read(
        database, StateLoop(board, LabelLimits(), Queues(("default", "other"), False), workers), board, "state"
    )
    assert found("airfleet_pool_slots") == {("crm",): 9, ("default_pool",): 4}
    assert found("airfleet_pool_slots_used") == {("crm",): 8, ("default_pool",): 0}
    assert found("airfleet_pool_waiting_tasks") == {("crm",): 0, ("default_pool",): 3}
    assert 50 <= found("airfleet_pool_head_age_seconds")["default_pool",] < 50 + PATIENCE_S
    assert found("airfleet_queue_depth") == {("default",): 1, ("other",): 0}
    assert 40 <= found("airfleet_queue_head_age_seconds")["default",] < 40 + PATIENCE_S
    assert found("airfleet_worker_slots_used") == {("cpu",): 2, ("idle",): 0}
    assert found("airfleet_task_instances")["scheduled", OTHER, "default_pool"] == 3
    assert found("airfleet_host_running_tasks") == {("worker-1",): 2}
    assert found("airfleet_component_up")["releaser", ""] == 0


def test_heartbeats_and_releases_are_read(database: servers.Server) -> None:
    for age in (5, 5000):
        database.query(
            "INSERT INTO job (job_type, hostname, state, latest_heartbeat)"
            " VALUES ('SchedulerJob', 'h1', 'running', now() - make_interval(secs => %s))",
            age,
        )
    database.query("INSERT INTO airfleet.pointer (bundle, live) VALUES ('own', 'abc')")
    board = Board()
    found = read(database, StateLoop(board, LabelLimits(), Queues(), []), board, "state")
    assert 5 <= found("airfleet_scheduler_loop_age_seconds")[()] < 5 + PATIENCE_S
    assert found("airfleet_release_info") == {("own", "abc"): 1}
    assert ("scheduler", "h1") in found("airfleet_component_heartbeat_age_seconds")


def test_hosts_have_the_names_of_fleet_yaml(database: servers.Server) -> None:
    database.query(
        "INSERT INTO job (job_type, hostname, state, latest_heartbeat)"
        " VALUES ('TriggererJob', '10.0.0.7', 'running', now())"
    )
    database.query(
        "INSERT INTO job (job_type, hostname, state, latest_heartbeat)"
        " VALUES ('TriggererJob', '10.0.0.9', 'running', now() - interval '1 h')"
    )
    database.query(TASK, "r", "running", "crm", "default", 1)
    board = Board()
    hosts = {"10.0.0.7": "s1", "worker-1": "w1"}
    found = read(database, StateLoop(board, LabelLimits(), Queues(), [], hosts=hosts), board, "state")
    assert list(found("airfleet_component_heartbeat_age_seconds")) == [("triggerer", "s1")], "one has left"
    assert found("airfleet_host_running_tasks") == {("w1",): 1}


def test_a_dag_that_should_have_run_and_did_not_is_overdue_whatever_the_reason(database: servers.Server) -> None:
    for name, paused, stale, full, broken, late in (
        ("late", False, False, False, False, 500),
        ("soon", False, False, False, False, -500),
        ("broken", False, False, False, True, 500),
        ("paused", True, False, False, False, 500),
        ("gone", False, True, False, False, 500),
        ("full", False, False, True, False, 500),
        ("not-live", False, True, False, True, 500),  # so Airflow marks the Dags of a file that does not load
        ("off", True, False, False, True, 500),
    ):
        database.query(DAG, name, paused, stale, full, broken, late)
    board = Board()
    found = read(database, Dags(board, LabelLimits()), board, "dags")
    overdue = {labels[0]: value > 0 for labels, value in found("airfleet_dag_overdue_seconds").items()}
    assert overdue == {"late": True, "soon": False, "broken": True, "not-live": True}
    assert found("airfleet_dags_overdue")[()] == 3
    assert found("airfleet_dags") == {("active",): 3, ("paused",): 1, ("stale",): 1, ("broken",): 3}


def test_catalogues_are_read_without_any_right(database: servers.Server) -> None:
    database.query("INSERT INTO airfleet.job VALUES ('backup', '', now() - interval '1 h') ON CONFLICT DO NOTHING")
    board = Board()
    found = read(database, DatabaseLoop(board, LabelLimits(), None), board, "database")
    assert found("airfleet_database_size_bytes")[()] > 1_000_000
    assert found("airfleet_backup_timestamp_seconds")[()] > 0
    assert ("task_instance",) in found("airfleet_table_size_bytes")
    assert found("airfleet_database_connections_max")[()] > 0
    assert set(board.facts["database"].series) <= set(METRICS)


def test_promises_are_shown_for_each_rule_also_for_one_without_any(database: servers.Server) -> None:
    database.query("TRUNCATE airfleet.sla_instance, airfleet.sla_engine")
    board = Board()
    assert read(database, StateLoop(board, LabelLimits(), Queues(), []), board, "state")("airfleet_sla_instances") == {}
    rules = '[{"rule": {"name": "marts", "kind": "must-run"}}, {"rule": {"name": "idle", "kind": "fresh-by"}}]'
    database.query("INSERT INTO airfleet.sla_engine (rules) VALUES (%s)", rules)
    for number, state in enumerate(("late", "late", "due", "met")):
        database.query(
            "INSERT INTO airfleet.sla_instance (rule, kind, dag_id, occasion, state, starts_at, due_at, changed_at,"
            " ended_at) VALUES ('marts', 'must-run', 'd', %s, %s, now(), now(), now(), %s)",
            *(str(number), state, "2026-01-01" if state == "met" else None),
        )
    found = read(database, StateLoop(board, LabelLimits(), Queues(), []), board, "state")("airfleet_sla_instances")
    assert {labels[2]: value for labels, value in found.items() if labels[0] == "marts"} == {
        "due": 1,
        "at-risk": 0,
        "late": 2,
    }
    assert {value for labels, value in found.items() if labels[0] == "idle"} == {0}


def test_traces_that_wait_and_totals_of_those_that_do_not(database: servers.Server) -> None:
    database.query("TRUNCATE airfleet.traced_run, airfleet.trace_total")
    run = (
        "INSERT INTO dag_run (id, dag_id, run_id, state, run_type, run_after, end_date, clear_number, span_status,"
        " log_template_id, updated_at)"
        " VALUES (%s, 'a', %s, %s, 'manual', now(), now() - interval '100 s', 0, '', 1, now())"
    )
    for number, state, is_waiting in ((1, "success", True), (2, "failed", False), (3, "running", True)):
        database.query(run, number, f"r{number}", state)
        database.query("INSERT INTO airfleet.traced_run (id, is_waiting) VALUES (%s, %s)", number, is_waiting)
    database.query("INSERT INTO airfleet.trace_total VALUES ('runs given up', 2), ('spans sent', 40)")
    board = Board()
    found = read(database, StateLoop(board, LabelLimits(), Queues((), False), []), board, "state")
    assert found("airfleet_traces_waiting") == {(): 1}
    assert 100 <= found("airfleet_traces_oldest_seconds")[()] < 1000
    assert found("airfleet_traces_runs_total") == {("sent",): 0, ("given up",): 2}
    assert found("airfleet_traces_spans_total") == {("sent",): 40, ("rejected",): 0}


def test_records_that_wait_for_a_backend_and_on_a_host(database: servers.Server) -> None:
    database.query(
        "TRUNCATE airfleet.lineage_event, airfleet.lineage_delivery, airfleet.record_total, airfleet.record_spool"
    )
    event = (
        "WITH event AS (INSERT INTO airfleet.lineage_event (file, place, instance, is_read, body)"
        " VALUES (gen_random_uuid(), 1, gen_random_uuid(), %s, '{}') RETURNING number)"
        " INSERT INTO airfleet.lineage_delivery (backend, event, since)"
        " SELECT 'marquez', number, now() - interval '100 s' FROM event"
    )
    for is_read in (True, True, False):
        database.query(event, is_read)
    database.query("INSERT INTO airfleet.record_total VALUES ('events read', 7), ('events given up', 2), ('cut', 1)")
    database.query(
        "INSERT INTO airfleet.record_spool VALUES ('10.0.0.7', 3, 500, now() - interval '100 s'),"
        " ('10.0.0.8', 0, 0, now() - interval '100 s')"
    )
    board = Board()
    loop = StateLoop(
        board, LabelLimits(), Queues((), False), [], hosts={"10.0.0.7": "w1"}, backends=("datahub", "marquez")
    )
    found = read(database, loop, board, "state")
    assert found("airfleet_lineage_waiting") == {("datahub",): 0, ("marquez",): 3}
    oldest = found("airfleet_lineage_oldest_seconds")
    assert oldest["datahub",] == 0
    assert oldest["marquez",] >= 100
    assert found("airfleet_lineage_unread") == {(): 1}
    totals = found("airfleet_lineage_events_total")
    assert totals == {("read",): 7, ("sent",): 0, ("given up",): 2, ("unknown",): 0}
    assert found("airfleet_records_cut_total") == {(): 1}
    assert found("airfleet_record_spool_files") == {("w1",): 3, ("10.0.0.8",): 0}
    spools = found("airfleet_record_spool_oldest_seconds")
    assert spools["w1",] >= 600, "it has got older since the supervisor said so"
    assert spools["10.0.0.8",] == 0
