-- The statements of overview.py: what the whole platform does now. `%(name)s` is a parameter.
--
-- Each reads unfinished task instances and runs by the index on their state, or the tail of the index of heartbeats.

-- name: now
SELECT clock_timestamp() AS now

-- name: states
SELECT state, count(*) AS count FROM task_instance
WHERE state IN ('scheduled', 'queued', 'running', 'deferred', 'up_for_retry', 'up_for_reschedule') GROUP BY state

-- name: runs
SELECT state, count(*) AS count FROM dag_run WHERE state IN ('running', 'queued') GROUP BY state

-- name: tasks
-- The slowest first. A statement of its own counts them, so that this one stays short with thousands of tasks.
SELECT dag_id AS dag, run_id AS run, task_id AS task, map_index, state, try_number, pool, coalesce(queue, 'default') AS queue,
    nullif(hostname, '') AS hostname, coalesce(start_date, queued_dttm) AS since, last_heartbeat_at AS heartbeat
FROM task_instance WHERE state = 'running' ORDER BY start_date NULLS LAST, dag_id, task_id, map_index LIMIT %(limit)s

-- name: hosts
SELECT coalesce(nullif(hostname, ''), '?') AS host, count(*) AS running, min(start_date) AS oldest,
    max(last_heartbeat_at) AS heartbeat
FROM task_instance WHERE state = 'running' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 200

-- name: holders
SELECT pool, dag_id AS dag, sum(pool_slots)::int AS slots FROM task_instance
WHERE state IN ('running', 'queued') GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2

-- name: rate
-- A task that ended within a minute has reported within the minute and its last interval of heartbeats.
SELECT count(*) FILTER (WHERE state = 'success') AS succeeded,
    count(*) FILTER (WHERE state IN ('failed', 'up_for_retry')) AS failed
FROM task_instance
WHERE last_heartbeat_at > now() - interval '120 s' AND end_date > now() - interval '60 s'
