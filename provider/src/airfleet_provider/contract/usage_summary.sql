-- The statements of usage_summary.py. `%(name)s` is a parameter.

-- name: summarise
-- One row for each task, and one with no Dag for each pool. `pools` names the pool of each queue. What no worker ran, such as a
-- task that was skipped for a branch, is no attempt. A task that waits for its next try has the end of the last one.
WITH attempt AS (
    SELECT id, dag_id, task_id, coalesce(%(pools)s::jsonb ->> queue, queue) AS pool, duration FROM task_instance
    WHERE end_date >= %(since)s AND pid IS NOT NULL AND state IN ('success', 'failed', 'skipped')
        AND (%(dag)s::text IS NULL OR dag_id = %(dag)s) AND (%(task)s::text IS NULL OR task_id = %(task)s)
        AND (%(pool)s::text IS NULL OR coalesce(%(pools)s::jsonb ->> queue, queue) = %(pool)s)
    UNION ALL
    SELECT task_instance_id, dag_id, task_id, coalesce(%(pools)s::jsonb ->> queue, queue), duration
    FROM task_instance_history
    WHERE end_date >= %(since)s AND pid IS NOT NULL
        AND (%(dag)s::text IS NULL OR dag_id = %(dag)s) AND (%(task)s::text IS NULL OR task_id = %(task)s)
        AND (%(pool)s::text IS NULL OR coalesce(%(pools)s::jsonb ->> queue, queue) = %(pool)s)
)
SELECT a.dag_id, a.task_id, a.pool, count(*) AS attempts, count(u.instance) AS recorded,
    count(u.memory_kib) AS measured, count(*) FILTER (WHERE u.kills > 0) AS memory_kills,
    count(*) FILTER (WHERE u.exit_code < 0) AS signals, coalesce(bool_and(u.is_group), false) AS is_group,
    CASE WHEN a.dag_id IS NULL THEN CASE WHEN count(u.limit_kib) = count(u.instance) THEN max(u.limit_kib) END
        ELSE (array_agg(u.limit_kib ORDER BY u.ended_at DESC NULLS LAST))[1] END AS limit_kib,
    percentile_disc(%(shares)s::float[]) WITHIN GROUP (ORDER BY u.memory_kib) AS memory_kib,
    percentile_disc(%(shares)s::float[]) WITHIN GROUP (ORDER BY u.cpu_s) AS cpu_s,
    percentile_disc(%(shares)s::float[]) WITHIN GROUP (ORDER BY a.duration) AS run_s,
    percentile_disc(%(shares)s::float[]) WITHIN GROUP (ORDER BY u.read_kib) AS read_kib,
    percentile_disc(%(shares)s::float[]) WITHIN GROUP (ORDER BY u.written_kib) AS written_kib
FROM attempt a LEFT JOIN airfleet.task_usage u ON u.instance = a.id
GROUP BY GROUPING SETS ((a.pool, a.dag_id, a.task_id), (a.pool))
ORDER BY a.pool, a.dag_id NULLS FIRST, a.task_id

-- name: list_run_times
-- The last runs of each task that succeeded, the oldest first. A cleared one ran too.
SELECT dag_id, task_id, array_agg(duration ORDER BY end_date) AS durations FROM (
    SELECT dag_id, task_id, duration, end_date,
        row_number() OVER (PARTITION BY dag_id, task_id ORDER BY end_date DESC) AS place
    FROM (
        SELECT dag_id, task_id, queue, state, duration, end_date, pid FROM task_instance
        UNION ALL
        SELECT dag_id, task_id, queue, state, duration, end_date, pid FROM task_instance_history
    ) AS attempt
    WHERE state = 'success' AND pid IS NOT NULL AND duration IS NOT NULL AND end_date >= %(since)s
        AND (%(dag)s::text IS NULL OR dag_id = %(dag)s) AND (%(task)s::text IS NULL OR task_id = %(task)s)
        AND (%(pool)s::text IS NULL OR coalesce(%(pools)s::jsonb ->> queue, queue) = %(pool)s)
) AS last WHERE place <= %(most)s GROUP BY dag_id, task_id
