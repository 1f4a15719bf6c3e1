-- The statements of directory_store.py. `%(name)s` is a parameter.

-- name: lock
SELECT pg_advisory_xact_lock(%(lock)s)

-- name: rows
-- Every user of a source. `age_s` is how long ago it was confirmed.
SELECT user_id, source, is_ended, extract(epoch FROM clock_timestamp() - confirmed_at)::float AS age_s
FROM airfleet.directory_user

-- name: of_user
SELECT source, subject, is_ended FROM airfleet.directory_user WHERE user_id = %(user)s

-- name: of_subject
SELECT d.user_id, u.username
FROM airfleet.directory_user d LEFT JOIN ab_user u ON u.id = d.user_id
WHERE d.source = %(source)s AND d.subject = %(subject)s

-- name: forget
DELETE FROM airfleet.directory_user WHERE user_id = %(user)s

-- name: bind
INSERT INTO airfleet.directory_user (user_id, source, subject) VALUES (%(user)s, %(source)s, %(subject)s)
ON CONFLICT (user_id) DO UPDATE
SET source = EXCLUDED.source, subject = EXCLUDED.subject, is_ended = false,
    confirmed_at = clock_timestamp(), asked_at = clock_timestamp()

-- name: confirm
UPDATE airfleet.directory_user SET confirmed_at = clock_timestamp() WHERE user_id = %(user)s

-- name: end
UPDATE airfleet.directory_user SET is_ended = true WHERE user_id = %(user)s

-- name: claim
-- Several web hosts ask at the same time: each takes other users, and one that dies leaves its own for later.
UPDATE airfleet.directory_user d SET asked_at = clock_timestamp()
FROM ab_user u
WHERE u.id = d.user_id AND d.user_id IN (
    SELECT user_id FROM airfleet.directory_user
    WHERE source = %(source)s AND NOT is_ended
        AND confirmed_at < clock_timestamp() - make_interval(secs => %(after_s)s)
        AND asked_at < clock_timestamp() - make_interval(secs => %(again_s)s)
    ORDER BY confirmed_at
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
RETURNING d.user_id, u.username, d.subject

-- name: taken
SELECT count(*) AS count FROM ab_user WHERE lower(email) = lower(%(address)s) AND lower(username) <> lower(%(name)s)
