-- The statements of breakers.py. `%(name)s` is a parameter.

-- name: move
-- One statement, so that the change, its event, its line in Airflow's audit log and the wake-up of the scheduler are all
-- there, or none is.
WITH moved AS (
    INSERT INTO airfleet.breaker AS b (name, state, generation, opened_at, probe_at, reason, actor)
    VALUES (
        %(name)s, %(state)s, 1, CASE WHEN %(state)s = 'open' THEN clock_timestamp() END,
        clock_timestamp() + make_interval(secs => %(seconds)s::float), %(reason)s, %(actor)s
    )
    ON CONFLICT (name) DO UPDATE SET
        state = excluded.state, generation = b.generation + 1, changed_at = clock_timestamp(),
        opened_at = CASE WHEN excluded.state = 'open' THEN coalesce(b.opened_at, excluded.opened_at) END,
        probe_at = excluded.probe_at, wave = 0, failed_probes = 0, reason = excluded.reason, actor = excluded.actor,
        waiting = CASE WHEN excluded.state = 'open' THEN b.waiting ELSE 0 END
    RETURNING name, generation, state, reason, actor
), told AS (
    INSERT INTO airfleet.breaker_event (breaker, generation, state, wave, reason, actor)
    SELECT name, generation, state, 0, reason, actor FROM moved
), audit AS (
    INSERT INTO log (dttm, event, owner, extra)
    SELECT clock_timestamp(), 'airfleet_breaker_' || state, actor,
        json_build_object('breaker', name, 'reason', reason)::text
    FROM moved
)
SELECT generation, pg_notify('airfleet_scheduler', '') FROM moved
