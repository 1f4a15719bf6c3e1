-- The statements of rows.py. Words in braces are replaced by literals, which rows.py writes.

-- name: candidates
-- What stays however old it is. The newest run of each type is where Airflow's schedule goes on, and the newest success
-- is what templates call the previous one. A run of a backfill that goes on is counted by that backfill.
SELECT r.id, r.dag_id, r.run_id, r.run_after
FROM dag_run r
WHERE r.state IN ('success', 'failed') AND r.end_date < {before} AND r.run_after < {before}
    AND r.id NOT IN (SELECT DISTINCT ON (dag_id, run_type) id FROM dag_run
        ORDER BY dag_id, run_type, run_after DESC, id DESC)
    AND r.id NOT IN (SELECT DISTINCT ON (dag_id) id FROM dag_run WHERE state = 'success'
        ORDER BY dag_id, logical_date DESC NULLS LAST, run_after DESC, id DESC)
    AND NOT EXISTS (SELECT FROM backfill b WHERE b.id = r.backfill_id AND b.completed_at IS NULL)
    {dag}
ORDER BY date_trunc('month', r.run_after AT TIME ZONE 'UTC'), r.dag_id, r.run_after, r.id

-- name: count_tasks
-- Of some runs, those all of whose task instances have ended, with their number.
SELECT r.id, count(t.id) FROM dag_run r LEFT JOIN task_instance t ON t.dag_id = r.dag_id AND t.run_id = r.run_id
WHERE r.id = ANY({ids}) GROUP BY r.id
HAVING count(t.id) FILTER (WHERE t.state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed')) = 0

-- name: lock_runs
SELECT id FROM dag_run WHERE id = ANY({ids}) AND state IN ('success', 'failed') ORDER BY id FOR UPDATE

-- name: named_runs
SELECT run_id FROM dag_run WHERE dag_id = {dag} AND run_id IN ({runs})

-- name: revision
SELECT version_num FROM alembic_version

-- name: count_deleted
-- How many rows this transaction has deleted of each table, by cascades too. It needs `track_counts`.
SELECT name, pg_stat_get_xact_tuples_deleted(to_regclass(format('public.%I', name)))
FROM unnest({tables}::text[]) AS listed (name)

-- name: track_counts
SELECT current_setting('track_counts')::boolean

-- name: delete_usage
-- What the attempts of some runs used. It is not archived.
DELETE FROM airfleet.task_usage WHERE instance IN (
    SELECT t.id FROM task_instance t JOIN dag_run r USING (dag_id, run_id) WHERE r.id = ANY({ids})
    UNION ALL
    SELECT h.task_instance_id FROM task_instance_history h JOIN dag_run r USING (dag_id, run_id) WHERE r.id = ANY({ids})
)
