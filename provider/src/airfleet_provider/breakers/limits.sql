-- The statements of limits on services. `%(name)s` is a parameter. Ages are reckoned by the database's clock alone.

-- name: list_scheduled
-- A task that goes on after it was deferred has its place already: it is no start.
SELECT dag_id, task_id, count(*) FILTER (WHERE next_method IS NULL),
    array_agg(id::text) FILTER (WHERE next_method IS NOT NULL)
FROM task_instance WHERE state = 'scheduled' GROUP BY 1, 2

-- name: create
INSERT INTO airfleet.service_limit (name) SELECT unnest(%(names)s::text[]) ON CONFLICT DO NOTHING

-- name: lock
-- In the order of the names, so that two transactions never wait for each other.
SELECT name, tokens, extract(epoch FROM clock_timestamp() - refilled_at)::float8 FROM airfleet.service_limit
WHERE name = ANY(%(names)s) ORDER BY name FOR UPDATE

-- name: settle
-- An instance that was queued since, or that is another try now, has used its grant. One that could not start gives it
-- back. A moment of Airflow is compared with itself only, as the clocks of hosts differ.
UPDATE airfleet.service_grant g SET outcome = judged.outcome
FROM (
    SELECT o.id, CASE
        WHEN t.id IS NULL OR t.queued_dttm IS DISTINCT FROM o.queued_before THEN 'used'
        WHEN t.state IS DISTINCT FROM 'scheduled'
            OR o.granted_at < clock_timestamp() - make_interval(secs => %(after_s)s::float8) THEN 'expired'
    END AS outcome
    FROM airfleet.service_grant o LEFT JOIN task_instance t ON t.id = o.instance
    WHERE o.outcome = 'open' AND o.limit_name = ANY(%(names)s)
) AS judged
WHERE g.id = judged.id AND judged.outcome IS NOT NULL
RETURNING g.limit_name, g.outcome

-- name: list_open
SELECT g.limit_name, g.instance::text, t.dag_id, t.task_id, coalesce(t.queue, '')
FROM airfleet.service_grant g JOIN task_instance t ON t.id = g.instance
WHERE g.outcome = 'open' AND g.limit_name = ANY(%(names)s)

-- name: count_active
SELECT dag_id, task_id, coalesce(queue, ''), count(*) FILTER (WHERE state = 'queued'), count(*)
FROM task_instance
WHERE (state IN ('queued', 'running', 'restarting', 'deferred') OR state = 'scheduled' AND next_method IS NOT NULL)
    AND id <> ALL(%(but)s::uuid[])
GROUP BY 1, 2, 3

-- name: list_candidates
-- The instances that may start next, with the number of the set of limits that each is under. Of the Dags that wait, the
-- one with the fewest starts in the last minute comes first, so that no Dag waits for all tasks of another one; within a
-- Dag, the order is Airflow's. Tasks that got a grant and could not start come last, probes of a breaker first. Those of
-- a queue in which a minute's worth waits already are left out.
WITH pair AS (
    SELECT * FROM unnest(%(dags)s::text[], %(tasks)s::text[], %(sets)s::int[]) AS p (dag_id, task_id, keepers)
), starts AS (
    SELECT dag_id, limit_name, count(*) AS starts FROM airfleet.service_grant
    WHERE limit_name = ANY(%(names)s) AND outcome <> 'expired' AND granted_at > clock_timestamp() - interval '1 minute'
    GROUP BY dag_id, limit_name
), served AS (
    -- By the limits of the set alone, and of these the one with the fewest: with what a Dag starts at another service,
    -- it loses no turn here.
    SELECT s.keepers, d.dag_id, min(coalesce(starts.starts, 0)) AS starts
    FROM unnest(%(set_numbers)s::int[], %(set_names)s::text[]) AS s (keepers, limit_name)
    CROSS JOIN (SELECT DISTINCT dag_id FROM starts) AS d
    LEFT JOIN starts ON starts.dag_id = d.dag_id AND starts.limit_name = s.limit_name
    GROUP BY s.keepers, d.dag_id
), missed AS (
    SELECT DISTINCT instance FROM airfleet.service_grant
    WHERE limit_name = ANY(%(names)s) AND outcome = 'expired' AND granted_at > clock_timestamp() - interval '1 minute'
), full_task AS (
    -- A task whose last grant came to nothing may have a limit of its own, which is in no table. Its other instances
    -- could not start either, and would get all grants one after the other.
    SELECT dag_id, task_id FROM (
        SELECT DISTINCT ON (t.dag_id, t.task_id) t.dag_id, t.task_id, g.outcome
        FROM airfleet.service_grant g JOIN task_instance t ON t.id = g.instance
        WHERE g.limit_name = ANY(%(names)s) AND g.outcome <> 'open'
            AND g.granted_at > clock_timestamp() - interval '1 minute'
        ORDER BY t.dag_id, t.task_id, g.id DESC
    ) AS last WHERE outcome = 'expired'
), busy AS (
    SELECT dag_id, run_id, count(*) AS tasks FROM task_instance WHERE state IN ('queued', 'running') GROUP BY 1, 2
), room AS (
    SELECT p.pool, p.slots < 0 OR p.slots > coalesce(sum(t.pool_slots) FILTER (
        WHERE t.state <> 'deferred' OR p.include_deferred), 0) AS is_free
    FROM slot_pool p
    LEFT JOIN task_instance t ON t.pool = p.pool AND t.state IN ('queued', 'running', 'restarting', 'deferred')
    GROUP BY p.pool, p.slots
), fitting AS (
    SELECT t.id, t.dag_id, t.task_id, coalesce(t.queue, '') AS queue, pair.keepers, t.priority_weight, r.logical_date,
        t.map_index, t.id::text = ANY(%(probes)s::text[]) AS is_probe,
        (missed.instance IS NOT NULL)::int * 2 + (full_task.dag_id IS NOT NULL)::int AS misses,
        d.max_active_tasks - coalesce(busy.tasks, 0) AS run_room,
        row_number() OVER (
            PARTITION BY t.dag_id, t.run_id ORDER BY -t.priority_weight, t.map_index
        ) AS turn_in_run
    FROM task_instance t
    JOIN pair ON pair.dag_id = t.dag_id AND pair.task_id = t.task_id
    JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id AND r.state = 'running'
    JOIN dag d ON d.dag_id = t.dag_id AND NOT d.is_paused
    JOIN room ON room.pool = t.pool AND room.is_free
    LEFT JOIN busy ON busy.dag_id = t.dag_id AND busy.run_id = t.run_id
    LEFT JOIN missed ON missed.instance = t.id
    LEFT JOIN full_task ON full_task.dag_id = t.dag_id AND full_task.task_id = t.task_id
    WHERE t.state = 'scheduled' AND t.next_method IS NULL AND t.id <> ALL(%(granted)s::uuid[])
        AND ((t.dag_id, t.task_id) NOT IN (SELECT * FROM unnest(%(kept_dags)s::text[], %(kept_tasks)s::text[]))
            OR t.id::text = ANY(%(probes)s::text[]))
        AND (pair.keepers, coalesce(t.queue, '')) NOT IN (
            SELECT * FROM unnest(%(full_sets)s::int[], %(full_queues)s::text[])
        )
), queue AS (
    SELECT f.*, coalesce(served.starts, 0) + row_number() OVER (
        PARTITION BY f.keepers, f.dag_id ORDER BY misses, -priority_weight, logical_date, map_index
    ) AS turn
    FROM fitting f LEFT JOIN served ON served.dag_id = f.dag_id AND served.keepers = f.keepers
    WHERE f.turn_in_run <= f.run_room
)
SELECT id::text, dag_id, task_id, queue, keepers FROM (
    SELECT *, row_number() OVER (
        PARTITION BY keepers ORDER BY misses, NOT is_probe, turn, -priority_weight, logical_date, map_index
    ) AS place FROM queue
) AS placed
WHERE place <= %(most)s
ORDER BY misses, NOT is_probe, turn, -priority_weight, logical_date, map_index

-- name: grant
INSERT INTO airfleet.service_grant (limit_name, dag_id, instance, queued_before)
SELECT g.name, t.dag_id, t.id, t.queued_dttm
FROM unnest(%(names)s::text[], %(instances)s::uuid[]) AS g (name, instance) JOIN task_instance t ON t.id = g.instance

-- name: write
UPDATE airfleet.service_limit l
SET tokens = w.tokens, refilled_at = l.refilled_at + make_interval(secs => w.idle_s),
    starts_per_minute = w.starts, at_once = w.at_once, active = w.active, waiting = w.waiting,
    waiting_tasks = w.tasks, held_until = CASE WHEN w.waiting > 0 THEN clock_timestamp() ELSE l.held_until END
FROM jsonb_to_recordset(%(accounts)s::jsonb) AS w (
    name text, tokens float8, idle_s float8, starts int, at_once int, active int, waiting int, tasks jsonb
)
WHERE l.name = w.name

-- name: list_noted
SELECT name FROM airfleet.service_limit WHERE waiting > 0 OR active > 0

-- name: prune
-- A task may be in its queue for long before it starts.
WITH gone AS (
    DELETE FROM airfleet.service_limit WHERE name <> ALL(%(names)s)
)
DELETE FROM airfleet.service_grant
WHERE granted_at < clock_timestamp() - interval '10 minutes'
    AND (started_at IS NOT NULL OR outcome = 'expired' OR granted_at < clock_timestamp() - interval '2 hours')

-- name: find_start
-- The grants of a task instance that starts now, for each limit that it has one of, the newest first.
SELECT DISTINCT ON (g.limit_name) g.limit_name, g.id, g.started_for IS NOT NULL
FROM airfleet.service_grant g JOIN task_instance t ON t.id = g.instance
WHERE g.instance = %(instance)s AND g.limit_name = ANY(%(names)s) AND g.outcome <> 'expired'
    AND (g.started_for IS NULL AND g.queued_before IS DISTINCT FROM t.queued_dttm OR g.started_for = t.queued_dttm)
ORDER BY g.limit_name, g.id DESC

-- name: count_started
SELECT count(*) FROM airfleet.service_grant
WHERE limit_name = %(name)s AND started_at > clock_timestamp() - interval '1 minute'

-- name: start
UPDATE airfleet.service_grant SET outcome = 'used', started_at = clock_timestamp(), started_for = (
    SELECT queued_dttm FROM task_instance WHERE id = %(instance)s
)
WHERE id = ANY(%(ids)s)

-- name: start_without_grant
INSERT INTO airfleet.service_grant (limit_name, dag_id, instance, outcome, queued_before, started_at, started_for)
SELECT n, t.dag_id, t.id, 'used', t.queued_dttm, clock_timestamp(), t.queued_dttm
FROM task_instance t, unnest(%(names)s::text[]) AS n WHERE t.id = %(instance)s

-- name: spend
UPDATE airfleet.service_limit
SET tokens = %(tokens)s, refilled_at = refilled_at + make_interval(secs => %(idle_s)s::float8)
WHERE name = %(name)s
