"""The statements about traces fit Airflow's own tables, and bring back what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

import servers
from airfleet_provider.traces import run_spans, store
from airflow_tables import serve

NOW = datetime.now(UTC).replace(microsecond=123456)
RUN = """
INSERT INTO dag_run (id, dag_id, run_id, state, run_type, run_after, created_at, queued_at, start_date, end_date,
    updated_at, clear_number, span_status, log_template_id)
VALUES (7, 'sales', 'r', 'success', 'manual', %(at)s, %(at)s, %(at)s, %(at)s, %(end)s, %(end)s, 0, '', 1)
"""
TRY = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, scheduled_dttm, queued_dttm, start_date, end_date, hostname, operator, span_status,
    executor_config)
VALUES (%(id)s, 'sales', 'r', 'look', -1, 'success', 2, 1, 'crm', 1, 'default', 1, %(at)s, %(at)s, %(at)s, %(end)s,
    'worker-1', '_PythonSensor', '', ''::bytea)
"""
FORMER = """
INSERT INTO task_instance_history (task_instance_id, dag_id, run_id, task_id, map_index, state, try_number, max_tries,
    pool, pool_slots, queue, priority_weight, start_date, end_date, span_status, executor_config)
VALUES (%(id)s, 'sales', 'r', 'look', -1, 'failed', 1, 1, 'crm', 1, 'default', 1, %(at)s, %(end)s, '', ''::bytea)
"""
LOG = """
INSERT INTO log (dttm, event, dag_id, task_id, run_id, map_index, try_number, extra)
VALUES (%(at)s, %(event)s, 'sales', 'look', 'r', -1, 2, 'hunter2')
"""


def make_id(number: int) -> str:
    return str(UUID(int=int(NOW.timestamp() * 1000) << 80 | 7 << 76 | number))


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with serve() as one:
        one.query("ALTER ROLE postgres SET session_replication_role = replica")  # rows without all their parents
        yield one


def test_a_run_comes_back_with_former_tries_reschedules_and_events(server: servers.Server) -> None:
    with psycopg.connect(server.dsn, autocommit=True, row_factory=dict_row) as connection:
        store.begin(connection)
        begin, end = NOW - timedelta(seconds=60), NOW - timedelta(seconds=10)
        connection.execute(RUN, {"at": begin, "end": end})
        former = begin - timedelta(seconds=1)
        connection.execute(FORMER, {"id": make_id(1), "at": former, "end": former})
        connection.execute(TRY, {"id": make_id(2), "at": begin, "end": end})
        for event in ("running", "running", "heartbeat timeout", "success"):
            connection.execute(LOG, {"at": begin + timedelta(seconds=5), "event": event})
        connection.execute(
            "INSERT INTO task_reschedule (ti_id, start_date, end_date, duration, reschedule_date)"
            " VALUES (%s, %s, %s, 0, %s)",
            (make_id(2), begin, begin, begin + timedelta(seconds=5)),
        )
        found = store.find_runs(connection)
        assert (list(found.unnoted), list(found.old), found.newest) == ([7], [], 7)
        store.note(connection, found)
        assert not store.find_runs(connection).unnoted
        [waiting] = store.list_waiting(connection, 5)
        run = store.read_run(connection, waiting)
        assert run
        spans = list(run_spans.list_spans(run))
        assert [one.name for one in spans] == ["dag_run.sales", *["task_run.look"] * 2, "running", "rescheduled"]
        assert [one.attributes.get("airflow.state") for one in spans[:3]] == ["success", "failed", "success"]
        events = [event.name for one in spans for event in one.events]
        assert events == [store.RETURNED, "heartbeat timeout"]
        assert "hunter2" not in str(spans)
        store.settle(connection, [waiting], {store.RUNS_SENT: 1})
        assert not store.list_waiting(connection, 5)
        assert not store.find_runs(connection).unnoted
        store.fail(connection, [waiting])
        store.prune(connection)
        store.forget(connection)
