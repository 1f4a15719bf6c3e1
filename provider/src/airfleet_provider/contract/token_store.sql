-- The statements of token_store.py. `%(name)s` is a parameter.

-- name: list
-- The clock that ends a token is the database's.
SELECT t.id, t.name, t.user_id, t.hash, t.created_at, t.expires_at, t.used_at,
    CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked' WHEN t.expires_at <= clock_timestamp() THEN 'expired' ELSE 'valid' END
        AS state
FROM airfleet.access_token t
WHERE %(all)s OR t.revoked_at IS NULL OR t.revoked_at > clock_timestamp() - interval '7 days'
ORDER BY t.name, t.created_at DESC

-- name: add
INSERT INTO airfleet.access_token (id, name, user_id, hash, expires_at)
SELECT %(id)s, %(name)s, u.id, %(hash)s, clock_timestamp() + make_interval(secs => %(seconds)s)
FROM ab_user u WHERE lower(u.username) = %(name)s

-- name: revoke
UPDATE airfleet.access_token SET revoked_at = clock_timestamp() WHERE name = %(name)s AND revoked_at IS NULL

-- name: use
UPDATE airfleet.access_token SET used_at = clock_timestamp()
WHERE id = %(id)s AND (used_at IS NULL OR used_at < clock_timestamp() - interval '10 minutes')
