-- The statements of lease.py. `%(name)s` is a parameter.

-- name: read
SELECT epoch, holder, requested IS NOT DISTINCT FROM epoch AS requested,
    extract(epoch FROM renewed_at)::float AS renewed
FROM airfleet.lease WHERE name = %(name)s

-- name: lock
SELECT pg_try_advisory_lock(%(lock)s) AS locked

-- name: break
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity, airfleet.lease
WHERE lease.name = %(name)s AND extract(epoch FROM renewed_at)::float = %(renewed)s
    -- While a password is exchanged there are two logins, both members of the role that everybody works as.
    AND pg_has_role(usename, current_user, 'MEMBER')
    AND datname = current_database() AND application_name = %(prefix)s || holder

-- name: acquire
WITH taken AS (
    UPDATE airfleet.lease SET epoch = epoch + 1, holder = %(holder)s, requested = NULL,
        renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => %(ttl)s)
    WHERE name = %(name)s RETURNING epoch
), ended AS (
    UPDATE airfleet.tenure SET ended_at = clock_timestamp()
    WHERE ended_at IS NULL AND epoch < (SELECT epoch FROM taken)
), pruned AS (
    DELETE FROM airfleet.tenure WHERE epoch < (SELECT epoch FROM taken) - %(kept)s
)
INSERT INTO airfleet.tenure (epoch, seat, holder, machine, session, session_started, why, taken_at)
SELECT epoch, %(seat)s, %(holder)s, %(machine)s, %(session)s, %(started)s, %(why)s, clock_timestamp() FROM taken
RETURNING epoch

-- name: renew
UPDATE airfleet.lease
SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => %(ttl)s)
WHERE name = %(name)s AND epoch = %(epoch)s AND holder = %(holder)s
RETURNING requested IS NOT DISTINCT FROM epoch AS requested

-- name: begin
UPDATE airfleet.tenure SET began_at = clock_timestamp() WHERE epoch = %(epoch)s

-- name: release
WITH released AS (
    UPDATE airfleet.lease SET holder = '', expires_at = clock_timestamp()
    WHERE name = %(name)s AND epoch = %(epoch)s AND holder = %(holder)s RETURNING epoch
)
UPDATE airfleet.tenure SET ended_at = clock_timestamp(), fenced_at = clock_timestamp()
WHERE epoch = (SELECT epoch FROM released)

-- name: unlock
SELECT pg_advisory_unlock(%(lock)s), pg_notify(%(channel)s, 'free')

-- name: end_backends
-- Schedulers of any other epoch, also of one whose successor died before it had ended them.
SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
WHERE pg_has_role(usename, current_user, 'MEMBER') AND datname = current_database()
    AND application_name LIKE %(prefix)s || '%%' AND application_name <> %(prefix)s || %(epoch)s

-- name: unfenced
SELECT epoch, session, session_started FROM airfleet.tenure
WHERE fenced_at IS NULL AND epoch < %(epoch)s AND machine = %(machine)s

-- name: fenced
UPDATE airfleet.tenure SET fenced_at = clock_timestamp() WHERE fenced_at IS NULL AND epoch < %(epoch)s

-- name: attend
INSERT INTO airfleet.seat AS seat (name, holder, host, state) VALUES (%(seat)s, %(holder)s, %(host)s, %(state)s)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, host = excluded.host, state = excluded.state,
    seen_at = clock_timestamp(),
    started_at = CASE WHEN seat.holder = excluded.holder THEN seat.started_at ELSE clock_timestamp() END

-- name: leave
DELETE FROM airfleet.seat WHERE name = %(seat)s AND holder = %(holder)s
