-- The statements of lease.py. `%(name)s` is a parameter.

-- name: read
SELECT epoch, holder, extract(epoch FROM renewed_at)::float8 AS renewed FROM airfleet.lease WHERE name = %(lease)s

-- name: take
-- The lock waits for open transactions of the former holder, which hold the row `FOR KEY SHARE`.
WITH free AS (
    SELECT name FROM airfleet.lease
    WHERE name = %(lease)s AND epoch = %(epoch)s AND extract(epoch FROM renewed_at)::float8 = %(renewed)s
    FOR UPDATE
)
UPDATE airfleet.lease SET epoch = epoch + 1, holder = %(holder)s, requested = NULL,
    renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => %(ttl)s)
WHERE name IN (SELECT name FROM free)
RETURNING epoch

-- name: renew
UPDATE airfleet.lease
SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => %(ttl)s)
WHERE name = %(lease)s AND epoch = %(epoch)s AND holder = %(holder)s
RETURNING epoch

-- name: release
UPDATE airfleet.lease SET holder = '', expires_at = clock_timestamp()
WHERE name = %(lease)s AND epoch = %(epoch)s AND holder = %(holder)s

-- name: hold
-- A renewal does not wait for this lock; another process that takes the lease does.
SELECT epoch FROM airfleet.lease WHERE name = %(lease)s AND epoch = %(epoch)s AND holder = %(holder)s FOR KEY SHARE
