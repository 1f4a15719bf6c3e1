-- name: runs
SELECT run_id, execution_date, data_interval_start, data_interval_end, conf
FROM {schema}.dag_run
WHERE dag_id = %s AND state = 'success' AND run_type <> 'backfill'
ORDER BY execution_date DESC
LIMIT %s

-- name: tasks
SELECT task_id, map_index, state
FROM {schema}.task_instance
WHERE dag_id = %s AND run_id = %s

-- A value that is larger is not read.
-- name: xcoms
SELECT task_id, map_index, key, CASE WHEN octet_length(value) <= %s THEN value END
FROM {schema}.xcom
WHERE dag_id = %s AND run_id = %s
