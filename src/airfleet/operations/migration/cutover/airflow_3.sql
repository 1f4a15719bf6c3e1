-- name: read_dag
SELECT dag.is_paused,
       serialized.data -> 'dag' -> 'timetable' AS timetable,
       (SELECT count(*) FROM dag_run WHERE dag_run.dag_id = dag.dag_id AND state IN ('queued', 'running')) AS active,
       (SELECT count(*) FROM asset_dag_run_queue WHERE target_dag_id = dag.dag_id) AS events
FROM dag
JOIN LATERAL (SELECT data FROM serialized_dag WHERE serialized_dag.dag_id = dag.dag_id
              ORDER BY created_at DESC LIMIT 1) AS serialized ON true
WHERE dag.dag_id = %(dag)s AND NOT dag.is_stale

-- name: read_dependencies
SELECT DISTINCT ON (serialized_dag.dag_id) serialized_dag.dag_id, data -> 'dag' -> 'dag_dependencies' AS dependencies
FROM dag JOIN serialized_dag USING (dag_id)
WHERE NOT dag.is_stale
ORDER BY serialized_dag.dag_id, serialized_dag.created_at DESC

-- name: read_last
SELECT run_id, logical_date, data_interval_start AS interval_start, data_interval_end AS interval_end,
       state, start_date, end_date
FROM dag_run
WHERE dag_id = %(dag)s AND run_type = 'scheduled' AND logical_date IS NOT NULL
ORDER BY logical_date DESC LIMIT 1

-- name: read_since
SELECT run_id, logical_date, data_interval_start AS interval_start, data_interval_end AS interval_end,
       state, start_date, end_date
FROM dag_run
WHERE dag_id = %(dag)s AND run_type = 'scheduled' AND logical_date IS NOT NULL
  AND (%(moment)s::timestamptz IS NULL OR logical_date > %(moment)s)
ORDER BY logical_date

-- name: pause
UPDATE dag SET is_paused = %(pause)s WHERE dag_id = %(dag)s AND is_paused IS DISTINCT FROM %(pause)s

-- name: hold
-- The scheduler takes the same lock before it makes a run, and leaves out Dags that are locked.
SELECT 1 FROM dag WHERE dag_id = %(dag)s FOR UPDATE

-- name: seed_run
-- A run with the same logical date stays as it is.
INSERT INTO dag_run (dag_id, run_id, logical_date, data_interval_start, data_interval_end, run_after, state, start_date,
                     end_date, queued_at, run_type, triggered_by, clear_number, created_at, updated_at, conf,
                     log_template_id, context_carrier, span_status)
VALUES (%(dag)s, %(run)s, %(logical_date)s, %(start)s, %(end)s, %(end)s, %(state)s, %(began)s,
        %(ended)s, %(began)s, 'scheduled', 'TIMETABLE', 0, now(), now(), '{}',
        (SELECT max(id) FROM log_template), '{}', 'not_started')
ON CONFLICT DO NOTHING

-- name: seed_next
-- The scheduler finds that the run of this date exists, and works out the one after it by the Dag's own schedule. A Dag
-- that has gone on since stays as it is.
UPDATE dag
SET next_dagrun = %(logical_date)s, next_dagrun_data_interval_start = %(start)s, next_dagrun_data_interval_end = %(end)s,
    next_dagrun_create_after = least(%(end)s, now())
WHERE dag_id = %(dag)s
  AND NOT EXISTS (SELECT FROM dag_run WHERE dag_run.dag_id = dag.dag_id AND run_type = 'scheduled'
                    AND logical_date > %(logical_date)s)
