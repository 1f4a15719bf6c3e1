-- The statements of saturation.py.

-- name: pools
WITH used AS (
    SELECT pool, sum(pool_slots) FILTER (WHERE state = 'scheduled') AS waiting,
        coalesce(sum(pool_slots) FILTER (WHERE state IN ('queued', 'running')), 0) AS held,
        coalesce(sum(pool_slots) FILTER (WHERE state = 'deferred'), 0) AS deferred
    FROM task_instance WHERE state IN ('scheduled', 'queued', 'running', 'deferred') GROUP BY pool
)
SELECT p.pool FROM used JOIN slot_pool p ON p.pool = used.pool
WHERE p.slots >= 0 AND used.waiting > p.slots - used.held - CASE WHEN p.include_deferred THEN used.deferred ELSE 0 END

-- name: runs
WITH used AS (
    SELECT dag_id, run_id, count(*) FILTER (WHERE state = 'scheduled') AS waiting,
        count(*) FILTER (WHERE state IN ('queued', 'running')) AS held
    FROM task_instance WHERE state IN ('scheduled', 'queued', 'running') GROUP BY dag_id, run_id
)
SELECT used.dag_id, used.run_id FROM used JOIN dag d ON d.dag_id = used.dag_id
WHERE used.waiting > d.max_active_tasks - used.held
