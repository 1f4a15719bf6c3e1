-- The statements of archive_list.py. `%(name)s` is a parameter.

-- name: list_dags
SELECT dag_id, count(DISTINCT month)::int AS months, sum(runs)::int AS runs, sum(task_instances)::int AS task_instances,
    sum(bytes)::bigint AS bytes, min(first_after) AS first_after, max(last_after) AS last_after
FROM airfleet.archived_batch GROUP BY dag_id ORDER BY dag_id

-- name: list_months
SELECT month, sum(runs)::int AS runs, sum(task_instances)::int AS task_instances, sum(bytes)::bigint AS bytes
FROM airfleet.archived_batch WHERE dag_id = %(dag)s GROUP BY month ORDER BY month DESC

-- name: count_near
SELECT coalesce(sum(runs), 0)::bigint AS runs FROM airfleet.archived_batch
WHERE dag_id = %(dag)s AND last_after >= coalesce(%(since)s::timestamptz, '-infinity')
    AND first_after < coalesce(%(until)s::timestamptz, 'infinity')

-- name: find_runs
-- The newest batches that may have such a run, up to some number of runs. A run that was restored and archived again is in
-- two batches.
WITH near AS (
    SELECT batch, listed, sum(runs) OVER (ORDER BY last_after DESC, batch DESC) - runs AS before
    FROM airfleet.archived_batch
    WHERE dag_id = %(dag)s AND last_after >= coalesce(%(since)s::timestamptz, '-infinity')
        AND first_after < coalesce(%(until)s::timestamptz, 'infinity')
), found AS (
    SELECT DISTINCT ON (r.run_after, r.run_id) r.run_id, r.run_after, r.tasks
    FROM near CROSS JOIN LATERAL jsonb_to_recordset(near.listed) AS r(run_id text, run_after timestamptz, tasks int)
    WHERE near.before < %(most_read)s
        AND r.run_after >= coalesce(%(since)s::timestamptz, '-infinity')
        AND r.run_after < coalesce(%(until)s::timestamptz, 'infinity')
        AND position(lower(%(text)s::text) IN lower(r.run_id)) > 0
    ORDER BY r.run_after DESC, r.run_id, near.batch DESC
    LIMIT %(most)s
)
SELECT f.run_id, f.run_after, f.tasks, d.state
FROM found f LEFT JOIN dag_run d ON d.dag_id = %(dag)s AND d.run_id = f.run_id
ORDER BY f.run_after DESC, f.run_id
