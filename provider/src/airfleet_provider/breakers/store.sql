-- The statements of breakers. `%(name)s` is a parameter. Ages and delays are reckoned by the database's clock alone.

-- name: find_instance
SELECT dag_id, task_id, hostname FROM task_instance WHERE id = %(instance)s

-- name: find_members
SELECT breaker FROM airfleet.breaker_task
WHERE dag_id = %(dag)s AND task_id = %(task)s AND breaker = ANY(%(names)s)

-- name: add_members
INSERT INTO airfleet.breaker_task (breaker, dag_id, task_id)
SELECT unnest(%(names)s::text[]), dag_id, task_id FROM task_instance WHERE id = %(instance)s ON CONFLICT DO NOTHING

-- name: list_held
-- For a task instance that is about to call the services: the breakers that make it wait.
SELECT b.name FROM airfleet.breaker b
WHERE b.name = ANY(%(names)s) AND b.state <> 'closed' AND NOT (b.state = 'half-open' AND EXISTS (
    SELECT FROM airfleet.breaker_probe p
    WHERE p.breaker = b.name AND p.generation = b.generation AND p.instance = %(instance)s AND p.outcome <> 'not-started'
))
ORDER BY b.name

-- name: create
INSERT INTO airfleet.breaker (name) VALUES (%(name)s) ON CONFLICT DO NOTHING

-- name: lock
SELECT state, generation FROM airfleet.breaker WHERE name = %(name)s FOR UPDATE

-- name: add_failure
-- An instance that reports again and again does not fill the table. The row of the breaker is locked.
INSERT INTO airfleet.breaker_failure (breaker, worker, instance, error)
SELECT %(name)s, %(worker)s, %(instance)s, %(error)s WHERE NOT EXISTS (
    SELECT FROM airfleet.breaker_failure
    WHERE breaker = %(name)s AND instance = %(instance)s
        AND failed_at > clock_timestamp() - make_interval(secs => %(apart_s)s)
)

-- name: list_recent
-- Failures before the last change of the state do not open the breaker again.
SELECT DISTINCT f.instance::text, f.worker FROM airfleet.breaker_failure f JOIN airfleet.breaker b ON b.name = f.breaker
WHERE f.breaker = %(name)s AND f.failed_at > b.changed_at
    AND f.failed_at > clock_timestamp() - make_interval(secs => %(window_s)s)

-- name: count_waits
SELECT count(*) FROM airfleet.breaker_failure
WHERE breaker = %(name)s AND instance = %(instance)s AND failed_at > clock_timestamp() - interval '1 hour'

-- name: fail_probe
UPDATE airfleet.breaker_probe SET outcome = 'failed'
WHERE breaker = %(name)s AND generation = %(generation)s AND instance = %(instance)s

-- name: move
-- Nothing is changed if somebody else was faster: then the generation is another one.
WITH moved AS (
    UPDATE airfleet.breaker
    SET state = %(state)s, generation = generation + 1, changed_at = clock_timestamp(),
        opened_at = CASE WHEN %(state)s <> 'closed' THEN coalesce(opened_at, clock_timestamp()) END,
        probe_at = clock_timestamp() + make_interval(secs => %(probe_in_s)s::float), wave = %(wave)s,
        failed_probes = %(failed_probes)s, reason = %(reason)s, actor = %(actor)s,
        waiting = CASE WHEN %(state)s = 'closed' THEN 0 ELSE waiting END
    WHERE name = %(name)s AND generation = %(generation)s
    RETURNING name, generation, state, wave, reason, actor
)
INSERT INTO airfleet.breaker_event (breaker, generation, state, wave, reason, actor)
SELECT name, generation, state, wave, reason, actor FROM moved
RETURNING generation

-- name: wake
-- The scheduler waits for notifications of this channel (`scheduler_wakeup.triggers.CHANNEL`).
SELECT pg_notify('airfleet_scheduler', '')

-- name: list_gates
-- The breakers that keep tasks, each with the task instances that it lets through.
SELECT b.name, ARRAY(
    SELECT p.instance::text FROM airfleet.breaker_probe p
    WHERE b.state = 'half-open' AND p.breaker = b.name AND p.generation = b.generation AND p.outcome <> 'not-started'
)
FROM airfleet.breaker b WHERE b.state <> 'closed'

-- name: are_agents_silent
SELECT FROM airfleet.lease WHERE name = 'agents' AND renewed_at < clock_timestamp() - make_interval(secs => %(after)s)

-- name: hold_silent_lease
-- An agents process that comes back waits for this lock.
SELECT FROM airfleet.lease WHERE name = 'agents' AND renewed_at < clock_timestamp() - make_interval(secs => %(after)s)
FOR UPDATE

-- name: list_scheduled
SELECT DISTINCT dag_id, task_id FROM task_instance WHERE state = 'scheduled'

-- name: list_open
SELECT name, state, generation, wave, failed_probes, waiting,
    extract(epoch FROM probe_at - clock_timestamp())::float AS probe_in_s,
    extract(epoch FROM clock_timestamp() - greatest(changed_at, (
        SELECT max(p.chosen_at) FROM airfleet.breaker_probe p WHERE p.breaker = name AND p.generation = b.generation
    )))::float AS idle_s
FROM airfleet.breaker b WHERE state <> 'closed' ORDER BY name

-- name: list_probes
-- Workers write `start_date`. A task that goes on after it was deferred keeps that of its first start.
SELECT p.instance::text, p.outcome, t.state, extract(epoch FROM clock_timestamp() - CASE
    WHEN t.state = 'running' THEN greatest(p.chosen_at, t.queued_dttm, t.start_date) ELSE p.chosen_at END
)::float AS age_s
FROM airfleet.breaker_probe p LEFT JOIN task_instance t ON t.id = p.instance
WHERE p.breaker = %(name)s AND p.generation = %(generation)s

-- name: judge_probe
UPDATE airfleet.breaker_probe SET outcome = %(outcome)s
WHERE breaker = %(name)s AND generation = %(generation)s AND instance = %(instance)s AND outcome = 'chosen'

-- name: list_waiting
-- The tasks that could run now, and the number of their instances.
SELECT t.dag_id, t.task_id, count(*) AS count FROM task_instance t
JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id AND r.state = 'running'
JOIN dag d ON d.dag_id = t.dag_id AND NOT d.is_paused
WHERE t.state = 'scheduled' GROUP BY 1, 2

-- name: list_tags
SELECT dag_id, array_agg(name) AS tags FROM dag_tag WHERE dag_id = ANY(%(dags)s) GROUP BY dag_id

-- name: list_all_members
SELECT breaker, dag_id, task_id FROM airfleet.breaker_task WHERE breaker = ANY(%(names)s)

-- name: list_candidates
-- Task instances that may become probes, with the number of the set of breakers that keep each, the best ones first.
-- Instances that were probes since the breakers opened come last: if the fault is their own, others must have a turn.
-- One that could not start in time is chosen again if there is no other. Each set is listed up to `most`.
SELECT instance, keepers FROM (
    SELECT t.id::text AS instance, pair.keepers, before.times, before.last, t.priority_weight, r.logical_date,
        t.map_index, row_number() OVER (
            PARTITION BY pair.keepers
            ORDER BY before.times, before.last, -t.priority_weight, r.logical_date, t.map_index
        ) AS place
    FROM task_instance t
    JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id AND r.state = 'running'
    JOIN dag d ON d.dag_id = t.dag_id AND NOT d.is_paused
    JOIN unnest(%(dags)s::text[], %(tasks)s::text[], %(keepers)s::int[]) AS pair (dag_id, task_id, keepers)
        ON pair.dag_id = t.dag_id AND pair.task_id = t.task_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS times, max(p.chosen_at) AS last FROM airfleet.breaker_probe p
        WHERE p.breaker = ANY(%(names)s) AND p.instance = t.id
    ) AS before
    WHERE t.state = 'scheduled' AND NOT EXISTS (
        SELECT FROM airfleet.breaker_probe p
        JOIN airfleet.breaker b ON b.name = p.breaker AND b.generation = p.generation
        WHERE p.breaker = ANY(%(names)s) AND p.instance = t.id AND p.outcome NOT IN ('other', 'not-started')
    )
) AS candidate
WHERE place <= %(most)s
ORDER BY times, last, -priority_weight, logical_date, map_index

-- name: add_probe
INSERT INTO airfleet.breaker_probe (breaker, generation, instance) VALUES (%(name)s, %(generation)s, %(instance)s)
ON CONFLICT (breaker, generation, instance) DO UPDATE SET outcome = 'chosen', chosen_at = clock_timestamp()

-- name: write_waiting
UPDATE airfleet.breaker SET waiting = %(waiting)s, waiting_tasks = %(tasks)s::jsonb
WHERE name = %(name)s AND (waiting, waiting_tasks) IS DISTINCT FROM (%(waiting)s, %(tasks)s::jsonb)

-- name: prune
-- A task of which no instance is left, such as one that was renamed, may go. Should it come back, it is learned again.
WITH old_tasks AS (
    DELETE FROM airfleet.breaker_task m WHERE m.breaker <> ALL(%(names)s) OR NOT EXISTS (
        SELECT FROM task_instance t WHERE t.dag_id = m.dag_id AND t.task_id = m.task_id
    )
), old_probes AS (
    DELETE FROM airfleet.breaker_probe p USING airfleet.breaker b
    WHERE b.name = p.breaker AND (b.state = 'closed' OR p.chosen_at < clock_timestamp() - interval '1 day')
        AND p.generation < b.generation
), old_failures AS (
    DELETE FROM airfleet.breaker_failure WHERE failed_at < clock_timestamp() - interval '1 hour'
)
DELETE FROM airfleet.breaker_event WHERE happened_at < clock_timestamp() - interval '180 days'
