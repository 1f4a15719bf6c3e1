-- The statements of short_path.py, in the order of their execution in one transaction. `%(name)s` is a parameter.

-- name: lock_runs
-- The conditions and the lock are those of Airflow's own query for Dag runs to examine. `version` is that of the Dag by
-- which Airflow schedules the run: the newest, unless the run belongs to a release.
SELECT r.dag_id, r.run_id, r.start_date, m.max_active_tasks, coalesce(r.bundle_version, '') <> '' AS is_of_release,
    v.id::text AS version, s.dag_hash AS hash
FROM dag_run r JOIN dag m ON m.dag_id = r.dag_id
JOIN unnest(%(dags)s::text[], %(runs)s::text[]) AS named (dag_id, run_id)
    ON r.dag_id = named.dag_id AND r.run_id = named.run_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN coalesce(r.bundle_version, '') = '' OR r.created_dag_version_id IS NULL
        THEN coalesce((
            SELECT d.id FROM dag_version d WHERE d.dag_id = r.dag_id ORDER BY d.version_number DESC LIMIT 1
        ), r.created_dag_version_id)
        ELSE r.created_dag_version_id
    END AS id
) AS v
JOIN serialized_dag s ON s.dag_version_id = v.id
WHERE r.state = 'running' AND NOT m.is_paused AND NOT m.is_stale AND m.bundle_name IS NOT NULL
    AND r.run_after <= now() AND (r.logical_date IS NULL OR r.logical_date <= now())
FOR NO KEY UPDATE OF r SKIP LOCKED

-- name: read_instances
SELECT t.dag_id, t.run_id, t.id::text AS id, t.task_id, t.map_index, t.state, t.try_number, t.pool, t.pool_slots,
    t.executor, t.dag_version_id::text AS version
FROM task_instance t JOIN unnest(%(dags)s::text[], %(runs)s::text[]) AS named (dag_id, run_id)
    ON t.dag_id = named.dag_id AND t.run_id = named.run_id
LIMIT %(most)s

-- name: lock_queueing
-- Airflow's own lock of the section in which tasks are queued, until the end of the transaction.
SELECT pg_try_advisory_xact_lock(%(lock)s) AS is_locked

-- name: read_pools
-- As Airflow counts: a deferred task holds its slots if the pool wants it.
WITH held AS (
    SELECT pool, state, sum(pool_slots)::int AS slots, count(*)::int AS tasks FROM task_instance
    WHERE state IN ('running', 'queued', 'deferred', 'scheduled') GROUP BY pool, state
)
SELECT p.pool, p.slots AS total,
    coalesce(sum(h.slots) FILTER (
        WHERE h.state IN ('running', 'queued') OR (h.state = 'deferred' AND p.include_deferred)
    ), 0)::int AS held,
    coalesce(sum(h.tasks) FILTER (WHERE h.state = 'scheduled'), 0)::int AS awaited
FROM slot_pool p LEFT JOIN held h ON h.pool = p.pool GROUP BY p.pool, p.slots, p.include_deferred

-- name: queue
-- What Airflow writes when it schedules a task instance, and when it queues the instance afterwards.
UPDATE task_instance SET state = 'queued', try_number = try_number + 1, scheduled_dttm = %(now)s, queued_dttm = %(now)s,
    queued_by_job_id = %(job)s, updated_at = %(now)s,
    external_executor_id = CASE WHEN %(has_id)s THEN gen_random_uuid()::text ELSE external_executor_id END
WHERE id = ANY(%(ids)s::uuid[]) AND state IS NULL AND try_number = 0
RETURNING id
