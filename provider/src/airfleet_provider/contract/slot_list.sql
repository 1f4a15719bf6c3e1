-- The statements of slot_list.py. `%(name)s` is a parameter.

-- name: list_workers
SELECT s.pool, s.host, s.slots, s.otherwise, s.in_force, s.held, s.takes, s.rank, s.marked,
    extract(epoch FROM clock_timestamp() - s.seen_at)::float8 AS age_s, d.drained_at, d.actor, d.reason
FROM airfleet.worker_slots s LEFT JOIN airfleet.worker_drain d USING (pool, host)
ORDER BY s.pool, s.rank NULLS LAST, s.host

-- name: list_overrides
SELECT pool, slots, set_at, actor, reason FROM airfleet.slot_override ORDER BY pool

-- name: list_last_decisions
-- The last decision about each pool that has workers.
SELECT one.pool, last.decided_at, last.inputs, last.wanted, last.reason
FROM (SELECT DISTINCT pool FROM airfleet.worker_slots) AS one
CROSS JOIN LATERAL (
    SELECT decided_at, inputs, wanted, reason FROM airfleet.slot_decision
    WHERE pool = one.pool ORDER BY decided_at DESC, id DESC LIMIT 1
) AS last

-- name: set_slots
WITH override AS (
    INSERT INTO airfleet.slot_override (pool, slots, actor, reason)
    VALUES (%(pool)s, %(slots)s, %(actor)s, %(reason)s)
    ON CONFLICT (pool) DO UPDATE
    SET slots = EXCLUDED.slots, actor = EXCLUDED.actor, reason = EXCLUDED.reason, set_at = clock_timestamp()
)
INSERT INTO log (dttm, event, owner, extra)
VALUES (clock_timestamp(), 'airfleet_scale_pool', %(actor)s,
    jsonb_build_object('pool', %(pool)s::text, 'slots', %(slots)s::int, 'reason', %(reason)s::text, 'status', 200)::text)
RETURNING id

-- name: clear_slots
WITH override AS (DELETE FROM airfleet.slot_override WHERE pool = %(pool)s)
INSERT INTO log (dttm, event, owner, extra)
VALUES (clock_timestamp(), 'airfleet_scale_pool', %(actor)s,
    jsonb_build_object('pool', %(pool)s::text, 'slots', 'auto', 'reason', %(reason)s::text, 'status', 200)::text)
RETURNING id

-- name: drain_workers
-- A worker that is drained already keeps who has drained it.
WITH chosen AS (SELECT * FROM unnest(%(pools)s::text[], %(hosts)s::text[]) AS chosen(pool, host)),
drained AS (
    INSERT INTO airfleet.worker_drain (pool, host, actor, reason)
    SELECT pool, host, %(actor)s, %(reason)s FROM chosen ON CONFLICT (pool, host) DO NOTHING
)
INSERT INTO log (dttm, event, owner, extra)
SELECT clock_timestamp(), 'airfleet_drain_worker', %(actor)s, jsonb_build_object(
    'workers', jsonb_agg(pool || '@' || host), 'reason', %(reason)s::text, 'status', 200)::text
FROM chosen RETURNING id

-- name: resume_workers
WITH chosen AS (SELECT * FROM unnest(%(pools)s::text[], %(hosts)s::text[]) AS chosen(pool, host)),
resumed AS (
    DELETE FROM airfleet.worker_drain d USING chosen WHERE d.pool = chosen.pool AND d.host = chosen.host
)
INSERT INTO log (dttm, event, owner, extra)
SELECT clock_timestamp(), 'airfleet_resume_worker', %(actor)s, jsonb_build_object(
    'workers', jsonb_agg(pool || '@' || host), 'reason', %(reason)s::text, 'status', 200)::text
FROM chosen RETURNING id
