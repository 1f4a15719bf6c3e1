"""Finished runs with rows in every table of runs. PostgreSQL generates them, so thousands are cheap."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg

Query = Callable[..., list[tuple[Any, ...]]]

DAG = """
INSERT INTO dag_bundle (name, active) VALUES ('old', true) ON CONFLICT DO NOTHING;
INSERT INTO dag (dag_id, is_paused, is_stale, exceeds_max_non_backfill, bundle_name, timetable_type,
    timetable_partitioned, timetable_periodic, partition_mapper_info, max_active_tasks,
    max_consecutive_failed_dag_runs, has_task_concurrency_limits, fail_fast)
SELECT '{dag}', false, false, false, 'old', '', false, true, '{{}}', 16, 0, false, false;
INSERT INTO dag_version (id, version_number, dag_id, bundle_name, created_at, last_updated)
SELECT gen_random_uuid(), 1, '{dag}', 'old', now(), now();
INSERT INTO serialized_dag (id, dag_id, data, created_at, last_updated, dag_hash, dag_version_id)
SELECT gen_random_uuid(), dag_id, '{{"dag": {{"dag_id": "{dag}"}}}}', now(), now(), md5(dag_id), id
FROM dag_version WHERE dag_id = '{dag}';
INSERT INTO dag_code (id, dag_id, fileloc, created_at, last_updated, source_code, source_code_hash, dag_version_id)
SELECT gen_random_uuid(), dag_id, 'dags/old.py', now(), now(), '# code', md5(dag_id), id
FROM dag_version WHERE dag_id = '{dag}';
"""
# One run an hour, the first {hours} hours ago.
RUNS = """
INSERT INTO dag_run (dag_id, queued_at, logical_date, start_date, end_date, state, run_id, run_type, triggered_by, conf,
    data_interval_start, data_interval_end, run_after, last_scheduling_decision, created_at, updated_at, clear_number,
    created_dag_version_id, context_carrier, span_status, log_template_id)
SELECT '{dag}', t, t, t, t + interval '5 minutes', 'success', 'scheduled__' || t::text, 'scheduled', 'timetable',
    '{{"n": 1}}', t, t, t, t, t, t, 0, (SELECT id FROM dag_version WHERE dag_id = '{dag}'), '{{}}', 'ended',
    (SELECT max(id) FROM log_template)
FROM generate_series(1, {runs}) n, LATERAL (SELECT now() - make_interval(hours => {hours} - n)) AS s (t);
INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, start_date, end_date, duration, state, try_number,
    max_tries, hostname, unixname, pool, pool_slots, queue, priority_weight, operator, queued_dttm, scheduled_dttm, pid,
    executor_config, updated_at, context_carrier, span_status, external_executor_id, task_display_name, dag_version_id)
SELECT gen_random_uuid(), 'task_' || n, dag_id, run_id, -1, start_date,
    start_date + make_interval(secs => 4 + mod(n, 7)), 3 + mod(n, 7) + random(), 'success', 1, 1,
    'worker-' || mod(n, 5) || '.example.com', 'airfleet',
    'default_pool', 1, 'default', 1, 'PythonOperator', start_date, start_date, 1000 + n,
    '\\x80047d942e'::bytea, end_date, '{{}}', 'ended', gen_random_uuid(), 'task_' || n,
    created_dag_version_id
FROM dag_run, generate_series(1, {tasks}) n WHERE dag_id = '{dag}';
INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)
SELECT r.id, t.task_id, -1, 'return_value', r.dag_id, r.run_id,
    jsonb_build_object('rows', (random() * 10000)::int, 'path', 's3://bucket/' || r.run_id || '/' || t.task_id),
    t.end_date
FROM task_instance t JOIN dag_run r USING (dag_id, run_id) WHERE dag_id = '{dag}';
INSERT INTO log (dttm, dag_id, task_id, map_index, event, logical_date, run_id, owner, extra, try_number)
SELECT t.start_date, r.dag_id, t.task_id, -1, e, r.logical_date, r.run_id, 'airflow', '{{"host_name": "worker-1"}}', 1
FROM task_instance t JOIN dag_run r USING (dag_id, run_id), unnest(ARRAY['running', 'success']) e
WHERE dag_id = '{dag}';
"""
# A few rows of each kind that is rare.
RARE = """
INSERT INTO rendered_task_instance_fields (dag_id, task_id, run_id, map_index, rendered_fields)
SELECT dag_id, task_id, run_id, map_index, '{{"bash_command": "echo \\"1,\\u00e9\\"\\n"}}'
FROM task_instance WHERE dag_id = '{dag}';
INSERT INTO task_instance_history (task_instance_id, task_id, dag_id, run_id, map_index, try_number, state, pool,
    pool_slots, span_status, dag_version_id, duration)
SELECT gen_random_uuid(), task_id, dag_id, run_id, map_index, 0, 'failed', pool, 1, 'ended', dag_version_id, 0.1
FROM task_instance WHERE dag_id = '{dag}' AND task_id = 'task_1';
INSERT INTO hitl_detail_history (ti_history_id, options, subject, params, created_at, params_input)
SELECT task_instance_id, '[]', 'Go?', '{{}}', now(), '{{}}' FROM task_instance_history WHERE dag_id = '{dag}';
INSERT INTO hitl_detail (ti_id, options, subject, params, created_at, params_input)
SELECT id, '["yes"]', 'Go?', '{{}}', now(), '{{"a": 1.50}}'
FROM task_instance WHERE dag_id = '{dag}' AND task_id = 'task_1';
INSERT INTO task_instance_note (ti_id, content, created_at, updated_at)
SELECT id, 'note, with "quotes"' || chr(10) || 'and lines', now(), now()
FROM task_instance WHERE dag_id = '{dag}' AND task_id = 'task_1';
INSERT INTO task_reschedule (ti_id, start_date, end_date, duration, reschedule_date)
SELECT id, now(), now(), 1, now() FROM task_instance WHERE dag_id = '{dag}' AND task_id = 'task_1';
INSERT INTO task_map (dag_id, task_id, run_id, map_index, length, keys)
SELECT dag_id, task_id, run_id, map_index, 3, '["a"]' FROM task_instance WHERE dag_id = '{dag}' AND task_id = 'task_1';
INSERT INTO dag_run_note (dag_run_id, content, created_at, updated_at)
SELECT id, '', now(), now() FROM dag_run WHERE dag_id = '{dag}';
INSERT INTO task_state_store (dag_run_id, task_id, map_index, key, dag_id, run_id, value, updated_at)
SELECT id, 'task_1', -1, 'k', dag_id, run_id, 'v', now() FROM dag_run WHERE dag_id = '{dag}';
INSERT INTO asset (name, uri, "group", extra, created_at, updated_at)
SELECT '{dag}', '{dag}', 'asset', '{{}}', now(), now();
INSERT INTO asset_event (asset_id, extra, timestamp) SELECT id, '{{}}', now() FROM asset WHERE name = '{dag}';
INSERT INTO dagrun_asset_event (dag_run_id, event_id)
SELECT r.id, e.id FROM dag_run r, asset_event e JOIN asset a ON a.id = e.asset_id
WHERE dag_id = '{dag}' AND a.name = '{dag}';
INSERT INTO asset_partition_dag_run (target_dag_id, created_dag_run_id, partition_key, created_at, updated_at)
SELECT dag_id, id, 'k' || id, now(), now() FROM dag_run WHERE dag_id = '{dag}';
INSERT INTO partitioned_asset_key_log (asset_id, asset_event_id, asset_partition_dag_run_id, source_partition_key,
    target_dag_id, target_partition_key, created_at)
SELECT 1, 1, id, 'k', target_dag_id, partition_key, now() FROM asset_partition_dag_run WHERE target_dag_id = '{dag}';
WITH c AS (
    INSERT INTO callback (id, type, fetch_method, data, state, priority_weight, created_at)
    SELECT gen_random_uuid(), 'triggerer', 'import_path', jsonb_build_object('run', id), 'success', 1, now()
    FROM dag_run WHERE dag_id = '{dag}' RETURNING id, (data->>'run')::int AS run
)
INSERT INTO deadline (id, created_at, last_updated_at, dagrun_id, deadline_time, missed, callback_id)
SELECT gen_random_uuid(), now(), now(), run, now(), false, id FROM c;
INSERT INTO backfill (dag_id, from_date, to_date, dag_run_conf, is_paused, reprocess_behavior, max_active_runs,
    created_at, completed_at, updated_at)
SELECT '{dag}', now(), now(), '{{}}', false, 'none', 1, now(), now(), now();
INSERT INTO backfill_dag_run (backfill_id, dag_run_id, logical_date, sort_ordinal)
SELECT (SELECT max(id) FROM backfill WHERE dag_id = '{dag}'), id, logical_date, row_number() OVER ()
FROM dag_run WHERE dag_id = '{dag}';
"""


def make_dag(query: Query, dag: str, *, runs: int, tasks: int, hours: int, rare: bool = True) -> None:
    """A Dag with finished runs, one an hour, the first so many hours ago; with `rare`, in every table of runs."""
    for part in (DAG, RUNS, RARE if rare else ""):
        for statement in part.format(dag=dag, runs=runs, tasks=tasks, hours=hours).split(";\n"):
            if statement.strip():
                query(statement)


def find_hours(days: int, now: datetime) -> int:
    """Return how many hours ago the 15th was, of the month in which it was `days` days ago.

    A batch of an archive is one Dag and one month. Runs from the 15th on are of one month on whatever day a test runs.
    """
    return (now - (now - timedelta(days=days)).replace(day=15)) // timedelta(hours=1)


# Each in a transaction of its own, as tasks send them: an update finds the space of the ones before it.
HEARTBEATS = """
DO $$
DECLARE task uuid;
BEGIN
    FOR task IN SELECT id FROM task_instance WHERE dag_id = '{dag}' LOOP
        UPDATE task_instance SET last_heartbeat_at = clock_timestamp() WHERE id = task;
        COMMIT;
    END LOOP;
END $$
"""


# What this session has written, and nothing that autovacuum writes meanwhile; PostgreSQL 18 counts it.
WRITTEN = "SELECT wal_bytes FROM pg_stat_get_backend_wal(pg_backend_pid())"


def count_heartbeat_wal(dsn: str, dag: str, *, rounds: int = 20) -> float:
    """Bytes of WAL of one heartbeat of a task instance; whole pages, written after a checkpoint, do not count."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        tasks = connection.execute("SELECT count(*) FROM task_instance WHERE dag_id = %s", (dag,)).fetchone()
        written = [0, 0]
        connection.execute("VACUUM task_instance")
        connection.execute("CHECKPOINT")
        for number in range(rounds + 1):
            connection.execute(HEARTBEATS.format(dag=dag))
            if number in (0, rounds):
                connection.execute("SELECT pg_stat_force_next_flush()")
                row = connection.execute(WRITTEN).fetchone()
                assert row is not None
                written[number > 0] = int(row[0])
    assert tasks is not None
    return (written[1] - written[0]) / (rounds * int(tasks[0]))
