-- The statements of repository.py. `%(name)s` is a parameter.

-- name: keep
INSERT INTO airfleet.release AS r (id, bundle, manifest, archive, location, built_by, message)
VALUES (%(id)s, %(bundle)s, %(manifest)s, %(archive)s, %(location)s, %(actor)s, %(message)s)
ON CONFLICT (id) DO UPDATE SET archive = excluded.archive, location = excluded.location, used_at = now(),
    built_at = now(), built_by = excluded.built_by, message = excluded.message, collected_at = NULL
