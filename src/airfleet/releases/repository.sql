-- The statements of repository.py. `%(name)s` is a parameter.

-- name: select_deployments
SELECT id, release, action, state, coalesce(actor, '') AS actor, reason, requested_at, live_at, watch_until,
    finished_at, verdict, detail
FROM airfleet.deployment

-- name: find_live_deployment
SELECT id, release, action, state, coalesce(actor, '') AS actor, reason, requested_at, live_at, watch_until,
    finished_at, verdict, detail
FROM airfleet.deployment
WHERE bundle = %(bundle)s AND live_at IS NOT NULL
    AND release = (SELECT version FROM dag_bundle WHERE name = %(bundle)s) ORDER BY id DESC LIMIT 1

-- name: touch
-- Marks a release as used now, so that the garbage collection keeps it.
UPDATE airfleet.release SET used_at = now() WHERE id = %s AND collected_at IS NULL RETURNING location

-- name: keep
INSERT INTO airfleet.release AS r (id, bundle, manifest, archive, location, built_by, message)
VALUES (%(id)s, %(bundle)s, %(manifest)s, %(archive)s, %(location)s, %(actor)s, %(message)s)
ON CONFLICT (id) DO UPDATE SET archive = excluded.archive, location = excluded.location, used_at = now(),
    built_at = now(), built_by = excluded.built_by, message = excluded.message, collected_at = NULL

-- name: select_releases
SELECT r.id, r.manifest, r.built_at, coalesce(r.built_by, '') AS built_by, coalesce(r.message, '') AS message, r.pinned,
    r.location, r.collected_at IS NOT NULL AS collected, coalesce(p.live = r.id, false) AS live, d.state,
    coalesce(d.verdict, d.reason) AS verdict
FROM airfleet.release r LEFT JOIN airfleet.pointer p ON p.bundle = r.bundle
LEFT JOIN LATERAL (
    SELECT state, verdict, CASE WHEN actor = %(automatic)s THEN reason END AS reason FROM airfleet.deployment
    WHERE bundle = r.bundle AND release = r.id AND live_at IS NOT NULL ORDER BY id DESC LIMIT 1
) d ON true
WHERE r.bundle = %(bundle)s
