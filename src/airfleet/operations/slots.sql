-- The statements of slots.py. `%(name)s` is a parameter.

-- name: list_workers
SELECT pool, host, slots, otherwise, in_force, held, takes,
    extract(epoch FROM clock_timestamp() - seen_at)::float8 AS age_s
FROM airfleet.worker_slots ORDER BY pool, host

-- name: list_overrides
SELECT pool, slots, set_at, actor, reason FROM airfleet.slot_override ORDER BY pool

-- name: list_decisions
SELECT pool, decided_at, inputs, wanted, slots, reason FROM airfleet.slot_decision
WHERE %(pool)s::text IS NULL OR pool = %(pool)s ORDER BY id DESC LIMIT %(limit)s

-- name: set_slots
WITH override AS (
    INSERT INTO airfleet.slot_override (pool, slots, actor, reason)
    VALUES (%(pool)s, %(slots)s, %(actor)s, %(reason)s)
    ON CONFLICT (pool) DO UPDATE
    SET slots = EXCLUDED.slots, actor = EXCLUDED.actor, reason = EXCLUDED.reason, set_at = clock_timestamp()
)
INSERT INTO log (dttm, event, owner, extra)
VALUES (clock_timestamp(), 'airfleet_scale_pool', %(actor)s,
    jsonb_build_object('pool', %(pool)s::text, 'slots', %(slots)s::int, 'reason', %(reason)s::text)::text)

-- name: clear_slots
WITH override AS (DELETE FROM airfleet.slot_override WHERE pool = %(pool)s)
INSERT INTO log (dttm, event, owner, extra)
VALUES (clock_timestamp(), 'airfleet_scale_pool', %(actor)s,
    jsonb_build_object('pool', %(pool)s::text, 'slots', 'auto', 'reason', %(reason)s::text)::text)

-- name: list_past
SELECT extract(epoch FROM coalesce(scheduled_dttm, queued_dttm, start_date))::float8 AS ready_at,
    extract(epoch FROM end_date - start_date)::float8 AS ran_s
FROM task_instance
WHERE state IN ('success', 'failed') AND start_date IS NOT NULL AND end_date >= start_date
    AND start_date > clock_timestamp() - make_interval(secs => %(seconds)s) AND queue = ANY(%(queues)s)
