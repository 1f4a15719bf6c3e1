-- The statements of retention.py. `%(name)s` is a parameter.

-- name: list_known
SELECT r.id, r.built_at, r.used_at, r.pinned AS is_pinned,
    COALESCE(p.live = r.id, false) AS is_live, COALESCE(p.previous = r.id, false) AS is_previous,
    (SELECT max(live_at) FROM airfleet.deployment d WHERE d.bundle = r.bundle AND d.release = r.id) AS live_at,
    (SELECT min(id) FROM airfleet.deployment d WHERE d.bundle = r.bundle AND d.release = r.id
        AND d.state IN %(unfinished)s) AS deployment
FROM airfleet.release r LEFT JOIN airfleet.pointer p ON p.bundle = r.bundle
WHERE r.bundle = %(bundle)s AND r.collected_at IS NULL

-- name: read_keep
-- The number in fleet.yaml at the last promotion or prune; rollbacks and watches do not read fleet.yaml.
SELECT (detail -> 'policy' ->> 'keep')::int FROM airfleet.deployment
WHERE bundle = %(bundle)s AND detail -> 'policy' ->> 'keep' IS NOT NULL
    AND (action = 'promote' AND live_at IS NOT NULL OR action = 'prune' AND NOT detail @> '{"dry": true}')
ORDER BY id DESC LIMIT 1

-- name: count_runs
-- Counts runs for 10 minutes after their end, because their last callbacks run then.
SELECT bundle_version, count(*) AS runs FROM dag_run
WHERE bundle_version = ANY(%(releases)s::text[])
    AND (state IN ('queued', 'running') OR end_date > now() - interval '10 minutes') GROUP BY 1

-- name: hold
-- Waits for transactions that use these rows. The next statement sees what those transactions changed.
SELECT id FROM airfleet.release WHERE id = ANY(%(releases)s::text[]) ORDER BY id FOR UPDATE

-- name: mark
-- Checks again all conditions that may have changed since, such as Dag runs that were cleared.
UPDATE airfleet.release r SET collected_at = now(), archive = NULL, keys = NULL
WHERE r.id = ANY(%(releases)s::text[]) AND r.collected_at IS NULL AND NOT r.pinned
    AND r.used_at < now() - interval '1 hour'
    AND NOT EXISTS (SELECT 1 FROM airfleet.pointer p WHERE r.id IN (p.live, p.previous))
    AND NOT EXISTS (SELECT 1 FROM airfleet.deployment d WHERE d.release = r.id
        AND d.state IN %(unfinished)s)
    AND NOT EXISTS (SELECT 1 FROM dag_run WHERE bundle_version = r.id
        AND (state IN ('queued', 'running') OR end_date > now() - interval '10 minutes'))
RETURNING r.id

-- name: list_left
SELECT id, location FROM airfleet.release
WHERE bundle = %(bundle)s AND collected_at IS NOT NULL AND location IS NOT NULL

-- name: is_left
SELECT 1 FROM airfleet.release WHERE id = %(id)s AND collected_at IS NOT NULL

-- name: forget_place
UPDATE airfleet.release SET location = NULL WHERE id = %(id)s

-- name: lock
SELECT pg_advisory_xact_lock(%(lock)s)

-- name: list_gone
SELECT id FROM airfleet.release WHERE bundle = %(bundle)s AND collected_at IS NOT NULL

-- name: count_old_parses
-- Keeps results of the last day, because their parse may not have ended yet.
SELECT count(*) FROM airfleet.parsed WHERE created_at < now() - interval '1 day'
    AND key NOT IN (SELECT unnest(keys) FROM airfleet.release WHERE collected_at IS NULL)

-- name: delete_old_parses
-- The same results as `count_old_parses`.
DELETE FROM airfleet.parsed WHERE created_at < now() - interval '1 day'
    AND key NOT IN (SELECT unnest(keys) FROM airfleet.release WHERE collected_at IS NULL)
