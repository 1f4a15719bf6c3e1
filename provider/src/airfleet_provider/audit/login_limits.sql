-- The statements of login_limits.py. `%(name)s` is a parameter.

-- name: find_user
-- The user whom FAB finds by a name or an e-mail address. Which letters differ in case only is for the database to say, as
-- it does for FAB: in some locales, the Turkish capital I with a dot is an i.
SELECT lower(username) FROM ab_user WHERE lower(username) = lower(%(typed)s) OR lower(email) = lower(%(typed)s)
ORDER BY lower(username) = lower(%(typed)s) DESC LIMIT 1

-- name: forget
-- Rows that another web host is about to remove are left to it: to wait for it could be a deadlock.
DELETE FROM airfleet.login_failure WHERE id IN (
    SELECT id FROM airfleet.login_failure
    WHERE failed_at < clock_timestamp() - make_interval(secs => %(seconds)s) FOR UPDATE SKIP LOCKED
)

-- name: count
SELECT
    (SELECT count(*) FROM airfleet.login_failure
     WHERE address = %(address)s AND failed_at > clock_timestamp() - make_interval(secs => %(address_s)s)),
    (SELECT count(*) FROM airfleet.login_failure
     WHERE name = %(name)s AND address = %(address)s
         AND failed_at > clock_timestamp() - make_interval(secs => %(name_s)s)),
    (SELECT count(*) FROM airfleet.login_failure
     WHERE name = %(name)s AND failed_at > clock_timestamp() - make_interval(secs => %(name_s)s)),
    EXISTS (SELECT FROM airfleet.login_place
     WHERE name = %(name)s AND address = %(address)s
         AND seen_at > clock_timestamp() - make_interval(days => %(known_days)s))

-- name: note
INSERT INTO airfleet.login_failure (id, address, name) VALUES (%(id)s::uuid, %(address)s, %(name)s) ON CONFLICT DO NOTHING

-- name: forgive
-- A login that succeeded ends the count of its user at its address.
DELETE FROM airfleet.login_failure
WHERE id = %(id)s::uuid OR (%(is_done)s AND address = %(address)s AND name = %(name)s)

-- name: know
-- Once a day is enough. If another login writes a place at this moment, the next one writes this place: to wait for it
-- could be a deadlock, as the rows of the audit log wait for each other too.
INSERT INTO airfleet.login_place (name, address)
SELECT %(name)s, %(address)s
WHERE NOT EXISTS (
    SELECT FROM airfleet.login_place
    WHERE name = %(name)s AND address = %(address)s AND seen_at > clock_timestamp() - interval '1 day'
) AND pg_try_advisory_xact_lock(%(lock)s)
ON CONFLICT (name, address) DO UPDATE SET seen_at = clock_timestamp()

-- name: forget_places
DELETE FROM airfleet.login_place WHERE seen_at < clock_timestamp() - make_interval(days => %(known_days)s)
