-- The statements of parse_times.py. `%(name)s` is a parameter.

-- name: refresh_dags
-- Skips rows that another transaction has locked; the next call updates them.
UPDATE dag SET last_parsed_time = now() WHERE dag_id IN (
    SELECT dag_id FROM dag
    WHERE bundle_name = %(bundle)s AND NOT is_stale AND last_parsed_time < now() - interval '1 hour'
    FOR NO KEY UPDATE SKIP LOCKED
)

-- name: refresh_errors
UPDATE import_error SET timestamp = now() WHERE id IN (
    SELECT id FROM import_error WHERE bundle_name = %(bundle)s AND timestamp < now() - interval '1 hour'
    FOR NO KEY UPDATE SKIP LOCKED
)

-- name: list_missing
-- A Dag that belongs to another bundle by now is not missing.
SELECT n.dag_id FROM unnest(%(dags)s::text[]) AS n(dag_id)
WHERE NOT EXISTS (SELECT FROM dag d WHERE d.dag_id = n.dag_id AND (d.bundle_name <> %(bundle)s OR NOT d.is_stale))
    OR NOT EXISTS (
        SELECT FROM dag_version v JOIN serialized_dag s ON s.dag_version_id = v.id WHERE v.dag_id = n.dag_id
    )
ORDER BY 1

-- name: list_live
SELECT jsonb_object_keys(r.dags) FROM airfleet.pointer p JOIN airfleet.release r ON r.id = p.live
WHERE p.bundle = %(bundle)s
