-- The statements of observe.py. `%(name)s` is a parameter.

-- name: dags
INSERT INTO dag_bundle (name, active) VALUES ('observed', true);
INSERT INTO dag (dag_id, is_paused, is_stale, exceeds_max_non_backfill, bundle_name, timetable_type,
    timetable_partitioned, timetable_periodic, partition_mapper_info, max_active_tasks, max_consecutive_failed_dag_runs,
    has_task_concurrency_limits, fail_fast, next_dagrun_create_after)
SELECT 'dag_' || to_char(n, 'FM00000'), false, false, false, 'observed', '', false, true, '{}', 16, 0, false, false,
    now() + make_interval(secs => n) FROM generate_series(1, %(dags)s) n;
INSERT INTO slot_pool (pool, slots, include_deferred) SELECT 'pool_' || n, 32, false FROM generate_series(1, 9) n

-- name: runs
INSERT INTO dag_run (dag_id, run_id, state, run_type, run_after, logical_date, start_date, end_date, clear_number,
    span_status, conf)
SELECT d.dag_id, 'scheduled__' || n, 'success', 'scheduled', t, t, t, t + interval '2 min', 0, 'ended', '{}'
FROM dag d, generate_series(1, %(runs)s) n, LATERAL (SELECT now() - interval '60 days' / %(runs)s * n) AS s (t)

-- name: tasks
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots, queue,
    priority_weight, scheduled_dttm, queued_dttm, start_date, end_date, duration, hostname, span_status, executor_config,
    last_heartbeat_at)
SELECT uuidv7(), r.dag_id, r.run_id, 'task_' || n, -1, 'success', 1, 0, 'pool_' || 1 + mod(n, 9), 1,
    'queue_' || mod(n, 10), 1, r.start_date, r.start_date, r.start_date, r.end_date, 120, 'worker-' || mod(n, 5),
    'ended', '\x80047d942e', r.end_date
FROM dag_run r, generate_series(1, %(tasks)s) n

-- name: log
INSERT INTO log (dttm, event, dag_id, run_id, task_id, map_index, try_number)
SELECT t.start_date, e, t.dag_id, t.run_id, t.task_id, -1, 1
FROM task_instance t, unnest(ARRAY['running', 'success']) e

-- name: begin_run
-- A run that begins now, with the tasks that run in it.
WITH run AS (
    INSERT INTO dag_run (dag_id, run_id, state, run_type, run_after, logical_date, start_date, clear_number, span_status,
        conf)
    VALUES (%(dag)s, %(run)s, 'running', 'scheduled', now(), clock_timestamp(), now(), 0, 'ended', '{}')
    RETURNING dag_id, run_id
), task AS (
    INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
        queue, priority_weight, scheduled_dttm, queued_dttm, start_date, hostname, span_status, executor_config)
    SELECT uuidv7(), dag_id, run_id, 'task_' || n, -1, 'running', 1, 0, 'pool_' || 1 + mod(n, 9), 1,
        'queue_' || mod(n, 10), 1, now(), now(), now(), 'worker-' || mod(n, 5), 'ended', '\x80047d942e'
    FROM run, generate_series(1, %(tasks)s) n RETURNING dag_id, run_id, task_id
)
INSERT INTO log (dttm, event, dag_id, run_id, task_id, map_index, try_number)
SELECT now(), 'running', dag_id, run_id, task_id, -1, 1 FROM task

-- name: end_run
WITH task AS (
    UPDATE task_instance SET state = 'success', end_date = now() WHERE dag_id = %(dag)s AND run_id = %(run)s
    RETURNING dag_id, run_id, task_id
), run AS (
    UPDATE dag_run SET state = 'success', end_date = now() WHERE dag_id = %(dag)s AND run_id = %(run)s
)
INSERT INTO log (dttm, event, dag_id, run_id, task_id, map_index, try_number)
SELECT now(), 'success', dag_id, run_id, task_id, -1, 1 FROM task
