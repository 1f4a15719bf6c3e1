-- The statements of publish.py. `%(name)s` is a parameter.

-- name: read_state
SELECT d.dag_id, d.bundle_name, d.is_stale, d.has_import_errors, v.id AS version, v.bundle_name AS version_bundle,
       s.dag_hash, c.source_code_hash
FROM dag d
LEFT JOIN LATERAL (
    SELECT id, bundle_name FROM dag_version WHERE dag_id = d.dag_id ORDER BY version_number DESC LIMIT 1
) v ON true
LEFT JOIN serialized_dag s ON s.dag_version_id = v.id
LEFT JOIN dag_code c ON c.dag_version_id = v.id
WHERE d.dag_id = ANY(%(dags)s) ORDER BY d.dag_id FOR NO KEY UPDATE OF d

-- name: switch_dags
UPDATE dag SET bundle_name = %(bundle)s, bundle_version = %(release)s, fileloc = n.fileloc,
    relative_fileloc = n.relative, is_stale = false, has_import_errors = false, last_parsed_time = now(),
    last_parse_duration = n.seconds
FROM unnest(%(dags)s, %(filelocs)s, %(relatives)s, %(seconds)s::float[]) AS n(dag_id, fileloc, relative, seconds)
WHERE dag.dag_id = n.dag_id

-- name: switch_versions
UPDATE dag_version SET bundle_name = %(bundle)s, bundle_version = %(release)s, last_updated = now()
WHERE id = ANY(%(versions)s::uuid[]) AND (bundle_name, bundle_version) IS DISTINCT FROM (%(bundle)s, %(release)s)

-- name: switch_code
UPDATE dag_code SET source_code = n.code, source_code_hash = n.hash, fileloc = n.fileloc, last_updated = now()
FROM unnest(%(versions)s::uuid[], %(codes)s, %(hashes)s, %(filelocs)s) AS n(version, code, hash, fileloc)
WHERE dag_version_id = n.version

-- name: find_moved
-- Finds Dags that have another path in a release that was live, because runs may have begun with that release.
SELECT n.dag_id FROM unnest(%(dags)s::text[], %(relatives)s::text[]) AS n(dag_id, path)
JOIN dag d ON d.dag_id = n.dag_id AND d.relative_fileloc <> n.path
WHERE EXISTS (
    SELECT 1 FROM airfleet.release r WHERE r.bundle = %(bundle)s AND r.collected_at IS NULL
        AND r.dags -> n.dag_id ->> 'path' <> n.path
        AND r.id IN (SELECT release FROM airfleet.deployment WHERE bundle = %(bundle)s AND live_at IS NOT NULL)
)

-- name: switch_moved
UPDATE dag SET relative_fileloc = %(path)s WHERE dag_id = ANY(%(dags)s::text[])

-- name: retire_dags
UPDATE dag SET is_stale = true
WHERE bundle_name = %(bundle)s AND NOT is_stale AND NOT dag_id = ANY(%(dags)s::text[])
RETURNING dag_id

-- name: find_retired
-- Airflow marks every Dag that was ever in a file that does not load, also those that somebody has removed from it.
SELECT dag_id FROM dag
WHERE bundle_name = %(bundle)s AND is_stale AND NOT coalesce(has_import_errors, false)
    AND relative_fileloc = ANY(%(broken)s::text[])

-- name: forget_errors
-- What has an import error is a Dag that would be live if its file loaded.
UPDATE dag SET has_import_errors = false
WHERE bundle_name = %(bundle)s AND is_stale AND has_import_errors
    AND (dag_id = ANY(%(retired)s::text[]) OR NOT relative_fileloc = ANY(%(broken)s::text[]))

-- name: clear_errors
DELETE FROM import_error WHERE bundle_name = %(bundle)s AND NOT filename = ANY(%(files)s::text[])

-- name: move_pointer
INSERT INTO airfleet.pointer AS p (bundle, live, moved_by, reason)
VALUES (%(bundle)s, %(release)s, %(actor)s, %(reason)s)
ON CONFLICT (bundle) DO UPDATE SET live = excluded.live, previous = p.live, moved_at = now(),
    moved_by = excluded.moved_by, reason = excluded.reason
WHERE p.live <> excluded.live

-- name: register_bundle
INSERT INTO dag_bundle (name, active) VALUES (%(bundle)s, true)
ON CONFLICT (name) DO UPDATE SET active = true WHERE NOT dag_bundle.active

-- name: switch_bundle
UPDATE dag_bundle SET version = %(release)s, last_refreshed = now() WHERE name = %(bundle)s
