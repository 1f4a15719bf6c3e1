-- The statements of slots. `%(name)s` is a parameter. Ages are reckoned by the database's clock alone.

-- name: count_active
SELECT queue, count(*) FILTER (WHERE state <> 'queued') AS running, count(*) FILTER (WHERE state = 'queued') AS queued,
    coalesce(extract(epoch FROM clock_timestamp() - min(queued_dttm) FILTER (WHERE state = 'queued')), 0)::float8 AS queued_s,
    coalesce(extract(epoch FROM min(queued_dttm) FILTER (WHERE state = 'queued')), 0)::float8 AS sent_at,
    coalesce(extract(epoch FROM max(start_date) FILTER (WHERE state = 'running')), 0)::float8 AS begun_at
FROM task_instance WHERE state IN ('queued', 'running', 'restarting') AND queue = ANY(%(queues)s) GROUP BY queue

-- name: list_waiting
SELECT t.queue, t.dag_id, t.run_id, t.task_id, t.pool, count(*) AS tasks, max(t.pool_slots) AS each,
    max(d.max_active_tasks) AS run_limit
FROM task_instance t
JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id AND r.state = 'running'
JOIN dag d ON d.dag_id = t.dag_id AND NOT d.is_paused
WHERE t.state = 'scheduled' AND t.queue = ANY(%(queues)s)
GROUP BY 1, 2, 3, 4, 5 ORDER BY max(t.priority_weight) DESC, 2, 3, 4

-- name: count_active_of_runs
SELECT dag_id, run_id, count(*) AS tasks FROM task_instance WHERE state IN ('queued', 'running') GROUP BY 1, 2

-- name: list_slot_pools
SELECT p.pool, CASE WHEN p.slots >= 0 THEN p.slots - coalesce(sum(t.pool_slots) FILTER (
    WHERE t.state IN ('queued', 'running', 'restarting') OR p.include_deferred AND t.state = 'deferred'), 0) END::int AS free
FROM slot_pool p
LEFT JOIN task_instance t ON t.pool = p.pool AND t.state IN ('queued', 'running', 'restarting', 'deferred')
GROUP BY p.pool, p.slots

-- name: list_held
SELECT one ->> 0 AS dag_id, one ->> 1 AS task_id
FROM airfleet.breaker b, jsonb_array_elements(b.waiting_tasks) AS one WHERE b.state <> 'closed'
UNION
SELECT one ->> 0, one ->> 1
FROM airfleet.service_limit l, jsonb_array_elements(l.waiting_tasks) AS one
WHERE l.waiting > 0 AND l.held_until > clock_timestamp() - interval '1 minute'

-- name: look_ahead
-- A Dag that is due soon will need as many slots at once as its last run would have had, if none of its tasks had waited
-- for a worker. No run has more at once than the limit of its Dag.
WITH due AS (
    SELECT dag_id, max_active_tasks FROM dag WHERE NOT is_paused AND NOT is_stale
        AND next_dagrun_create_after BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => %(ahead_s)s)
), last_runs AS (
    SELECT r.dag_id, r.run_id, r.start_date FROM due CROSS JOIN LATERAL (
        SELECT dag_id, run_id, start_date FROM dag_run
        WHERE dag_id = due.dag_id AND logical_date IS NOT NULL AND run_type = 'scheduled' AND state = 'success'
        ORDER BY logical_date DESC LIMIT 1
    ) AS r
), steps AS (
    SELECT r.dag_id, edge.at, edge.step FROM last_runs r
    JOIN task_instance t ON t.dag_id = r.dag_id AND t.run_id = r.run_id AND t.queue = ANY(%(queues)s)
    CROSS JOIN LATERAL (
        VALUES (t.scheduled_dttm, 1), (t.scheduled_dttm + (t.end_date - t.start_date), -1)
    ) AS edge (at, step)
    WHERE t.scheduled_dttm <= r.start_date + make_interval(secs => %(ahead_s)s) AND t.end_date > t.start_date
), levels AS (
    SELECT dag_id, sum(step) OVER (PARTITION BY dag_id ORDER BY at, step) AS slots FROM steps
)
SELECT (
        SELECT coalesce(sum(least(slots, max_active_tasks)), 0) FROM due
        JOIN (SELECT dag_id, max(slots) AS slots FROM levels GROUP BY dag_id) AS dags USING (dag_id)
    )::int AS due,
    count(*)::int AS lasting
FROM task_instance
WHERE state IN ('running', 'restarting') AND queue = ANY(%(queues)s)
    AND start_date < clock_timestamp() - make_interval(secs => %(ahead_s)s)

-- name: list_workers
SELECT pool, host, slots, otherwise, held, takes, rank,
    extract(epoch FROM clock_timestamp() - seen_at)::float8 AS age_s,
    extract(epoch FROM clock_timestamp() - decided_at)::float8 AS decided_s
FROM airfleet.worker_slots

-- name: list_overrides
SELECT pool, slots FROM airfleet.slot_override

-- name: read_moment
SELECT clock_timestamp() AS now

-- name: write_slots
INSERT INTO airfleet.worker_slots (pool, host, slots, otherwise, rank)
VALUES (%(pool)s, %(host)s, %(slots)s, %(otherwise)s, %(rank)s)
ON CONFLICT (pool, host) DO UPDATE
SET slots = EXCLUDED.slots, otherwise = EXCLUDED.otherwise, rank = EXCLUDED.rank, decided_at = clock_timestamp()

-- name: remove_workers
WITH known AS (SELECT * FROM unnest(%(pools)s::text[], %(hosts)s::text[]) AS known(pool, host)),
drains AS (DELETE FROM airfleet.worker_drain WHERE (pool, host) NOT IN (SELECT pool, host FROM known))
DELETE FROM airfleet.worker_slots WHERE (pool, host) NOT IN (SELECT pool, host FROM known)

-- name: add_decision
INSERT INTO airfleet.slot_decision (pool, inputs, wanted, slots, reason)
VALUES (%(pool)s, %(inputs)s::jsonb, %(wanted)s, %(slots)s::jsonb, %(reason)s)

-- name: prune
-- The last decision about a pool stays: it says what the pool's limits are.
DELETE FROM airfleet.slot_decision d USING (
    SELECT id, decided_at, row_number() OVER (PARTITION BY pool ORDER BY id DESC) AS place FROM airfleet.slot_decision
) AS one
WHERE d.id = one.id AND (one.place > %(kept)s OR one.place > 1 AND one.decided_at < clock_timestamp() - interval '30 days')

-- name: report
-- A worker that no rule names finds no row. What it reports cannot be more than a worker of its pool could hold.
UPDATE airfleet.worker_slots
SET held = %(held)s, in_force = %(in_force)s, takes = %(takes)s, marked = %(marked)s, seen_at = clock_timestamp()
WHERE pool = %(pool)s AND host = %(host)s
RETURNING CASE
    WHEN decided_at > clock_timestamp() - make_interval(secs => %(stale_s)s) THEN coalesce(slots, otherwise)
    ELSE otherwise
END AS slots, rank, (SELECT count(*) FROM airfleet.worker_slots) AS workers,
    EXISTS (SELECT FROM airfleet.worker_drain d WHERE d.pool = %(pool)s AND d.host = %(host)s) AS drained
