-- The statements of dags.py.

-- name: dags
SELECT dag_id, is_paused, is_stale, coalesce(has_import_errors, false) AS is_broken,
    CASE WHEN NOT exceeds_max_non_backfill
        THEN extract(epoch FROM clock_timestamp() - next_dagrun_create_after)::float8 END AS overdue_s
FROM dag

-- name: oldest
SELECT dag_id, extract(epoch FROM clock_timestamp() - min(due))::float8 AS age_s FROM (
    SELECT dag_id, run_after AS due FROM dag_run WHERE state = 'queued'
    UNION ALL
    SELECT dag_id, run_after FROM dag_run WHERE state = 'running'
) unfinished GROUP BY dag_id
