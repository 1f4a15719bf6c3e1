-- The statements of events.py. `%(name)s` is a parameter. None of them reads more than the rows that it names.

-- name: newest
SELECT coalesce((SELECT max(id) FROM log), 0) AS log, coalesce((SELECT max(id) FROM dag_run), 0) AS run

-- name: log_ids
-- Rows that became visible between those that were read, and rows after them.
SELECT late.id FROM unnest(%(firsts)s::bigint[], %(lasts)s::bigint[]) AS gap (first, last)
CROSS JOIN LATERAL (
    SELECT id FROM log WHERE id BETWEEN gap.first AND gap.last ORDER BY id LIMIT %(most)s
) AS late
UNION ALL
(SELECT id FROM log WHERE id > %(top)s ORDER BY id LIMIT %(most)s)

-- name: run_ids
SELECT late.id FROM unnest(%(firsts)s::bigint[], %(lasts)s::bigint[]) AS gap (first, last)
CROSS JOIN LATERAL (
    SELECT id FROM dag_run WHERE id BETWEEN gap.first AND gap.last ORDER BY id LIMIT %(most)s
) AS late
UNION ALL
(SELECT id FROM dag_run WHERE id > %(top)s ORDER BY id LIMIT %(most)s)

-- name: tries
-- The row of a task instance has its present try, and the history has each former one. A retry changes the row's id, so
-- the row is found by its key.
SELECT l.event, l.dag_id, l.task_id, l.run_id, extract(epoch FROM l.dttm)::float8 AS at, t.state,
    t.try_number IS NOT DISTINCT FROM l.try_number AS is_present,
    coalesce(h.task_id, t.task_id) IS NULL AS is_lost,
    CASE WHEN h.task_id IS NULL THEN t.queue ELSE h.queue END AS queue,
    CASE WHEN h.task_id IS NULL THEN t.pool ELSE h.pool END AS pool,
    extract(epoch FROM CASE WHEN h.task_id IS NULL THEN t.scheduled_dttm ELSE h.scheduled_dttm END)::float8 AS ready,
    extract(epoch FROM CASE WHEN h.task_id IS NULL THEN t.queued_dttm ELSE h.queued_dttm END)::float8 AS queued,
    extract(epoch FROM CASE WHEN h.task_id IS NULL THEN t.start_date ELSE h.start_date END)::float8 AS started,
    extract(epoch FROM CASE WHEN h.task_id IS NULL THEN t.end_date ELSE h.end_date END)::float8 AS ended
FROM log l
LEFT JOIN task_instance t ON t.dag_id = l.dag_id AND t.task_id = l.task_id AND t.run_id = l.run_id
    AND t.map_index = coalesce(l.map_index, -1)
LEFT JOIN task_instance_history h ON h.dag_id = l.dag_id AND h.task_id = l.task_id AND h.run_id = l.run_id
    AND h.map_index = coalesce(l.map_index, -1) AND h.try_number = l.try_number
    AND t.try_number IS DISTINCT FROM l.try_number
WHERE l.id = ANY(%(ids)s) AND l.event IN ('running', 'success', 'failed', 'up_for_retry', 'skipped')
    AND l.task_id IS NOT NULL AND l.run_id IS NOT NULL
ORDER BY l.id

-- name: unfinished
SELECT id, false AS is_running FROM dag_run WHERE state = 'queued'
UNION ALL
SELECT id, true FROM dag_run WHERE state = 'running'

-- name: runs
SELECT id, dag_id, state, run_type, clear_number, extract(epoch FROM run_after)::float8 AS due,
    extract(epoch FROM start_date)::float8 AS started, extract(epoch FROM end_date)::float8 AS ended
FROM dag_run WHERE id = ANY(%(ids)s)

-- name: last_successes
-- Read once, when the exporter runs for the first time on this database.
SELECT d.dag_id, extract(epoch FROM r.start_date)::float8 AS started, extract(epoch FROM r.end_date)::float8 AS ended
FROM (SELECT dag_id FROM dag WHERE NOT is_stale ORDER BY dag_id LIMIT %(most)s) d
CROSS JOIN LATERAL (
    SELECT start_date, end_date FROM dag_run
    WHERE dag_id = d.dag_id AND state = 'success' AND logical_date IS NOT NULL ORDER BY logical_date DESC LIMIT 1
) r

-- name: dags
SELECT dag_id FROM dag

-- name: running_dags
SELECT dag_id FROM dag WHERE NOT is_paused AND NOT is_stale

-- name: sla_rules
-- The text of a moment in UTC sorts as the moment does.
SELECT one -> 'rule' ->> 'name' AS rule, one -> 'rule' ->> 'kind' AS kind,
    to_char(e.evaluated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS evaluated_at
FROM airfleet.sla_engine e,
    jsonb_array_elements(CASE jsonb_typeof(e.rules) WHEN 'array' THEN e.rules ELSE '[]' END) AS one
WHERE e.evaluated_at IS NOT NULL

-- name: sla_ends
SELECT rule, kind, state, count(*) AS instances FROM airfleet.sla_instance
WHERE ended_at > %(after)s::timestamptz AND ended_at <= %(until)s::timestamptz GROUP BY 1, 2, 3
