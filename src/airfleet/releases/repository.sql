-- The statements of repository.py. `%(name)s` is a parameter.

-- name: find_live_deployment
SELECT id, release, action, state, coalesce(actor, '') AS actor, reason, requested_at, live_at, watch_until,
    finished_at, verdict, detail
FROM airfleet.deployment
WHERE bundle = %(bundle)s AND live_at IS NOT NULL
    AND release = (SELECT version FROM dag_bundle WHERE name = %(bundle)s) ORDER BY id DESC LIMIT 1

-- name: keep
INSERT INTO airfleet.release AS r (id, bundle, manifest, archive, location, built_by, message)
VALUES (%(id)s, %(bundle)s, %(manifest)s, %(archive)s, %(location)s, %(actor)s, %(message)s)
ON CONFLICT (id) DO UPDATE SET archive = excluded.archive, location = excluded.location, used_at = now(),
    built_at = now(), built_by = excluded.built_by, message = excluded.message, collected_at = NULL
