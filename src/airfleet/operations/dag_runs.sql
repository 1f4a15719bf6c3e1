-- The statements of dag_runs.py. Each uses an index by Dag, or by Dag and run.

-- name: dag
SELECT is_paused FROM dag WHERE dag_id = %(dag)s

-- name: run
SELECT state, queued_at AS queued, start_date AS started, end_date AS ended
FROM dag_run WHERE dag_id = %(dag)s AND run_id = %(run)s

-- name: tasks
SELECT task_id AS task, map_index, try_number, coalesce(state, '') AS state, start_date AS started, end_date AS ended
FROM task_instance WHERE dag_id = %(dag)s AND run_id = %(run)s
ORDER BY end_date NULLS LAST, start_date NULLS LAST, task_id, map_index LIMIT %(limit)s
