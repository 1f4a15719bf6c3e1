-- The statements of reading.py: the times of one run and of its tries. Each uses an index by Dag and run.

-- name: run
SELECT run_id AS run, state, run_after, created_at AS created, queued_at AS queued, start_date AS started,
    end_date AS ended, bundle_version AS release, created_dag_version_id::text AS version, run_type AS kind,
    clear_number, clock_timestamp() AS now
FROM dag_run WHERE dag_id = %(dag)s AND run_id = %(run)s

-- name: tries
-- A finished try of a task that was tried again is in the history only.
SELECT task_id AS task, map_index, try_number AS number, coalesce(state, '') AS state, scheduled_dttm AS scheduled,
    queued_dttm AS queued, start_date AS started, end_date AS ended, coalesce(hostname, '') AS host,
    coalesce(queue, '') AS queue, pool, coalesce(custom_operator_name, operator, '') AS operator, id::text AS id
FROM task_instance WHERE dag_id = %(dag)s AND run_id = %(run)s
UNION ALL
SELECT task_id, map_index, try_number, coalesce(state, ''), scheduled_dttm, queued_dttm, start_date, end_date,
    coalesce(hostname, ''), coalesce(queue, ''), pool, coalesce(custom_operator_name, operator, ''),
    task_instance_id::text
FROM task_instance_history WHERE dag_id = %(dag)s AND run_id = %(run)s
ORDER BY started NULLS LAST, scheduled NULLS LAST, task, map_index, number LIMIT %(limit)s

-- name: has_user_spans
-- A database of an earlier version has no such table.
SELECT to_regclass('airfleet.user_span') IS NOT NULL AS found

-- name: user_spans
-- The spans that the code of the tries of a run measured, by the index of their instance.
SELECT u.instance::text AS owner, u.file::text AS file, u.number, u.parent, u.name, u.error, u.began_at AS begin,
    u.took_s AS seconds, u.attributes
FROM (
    SELECT id FROM task_instance WHERE dag_id = %(dag)s AND run_id = %(run)s
    UNION ALL
    SELECT task_instance_id FROM task_instance_history WHERE dag_id = %(dag)s AND run_id = %(run)s
) AS t
JOIN airfleet.user_span u ON u.instance = t.id
ORDER BY u.began_at, u.file, u.number LIMIT %(limit)s
