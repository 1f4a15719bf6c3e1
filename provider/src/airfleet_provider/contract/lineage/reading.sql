-- The statements of reading.py. They are read in one snapshot. `%(name)s` is a parameter.

-- name: now
SELECT now() AS now

-- name: dags
SELECT d.dag_id, coalesce(d.owners, '') AS owners, coalesce(d.timetable_summary, '') AS schedule,
    coalesce(d.description, '') AS description, coalesce(d.relative_fileloc, '') AS file, d.is_paused,
    d.next_dagrun_create_after AS next_run,
    ARRAY(SELECT t.name FROM dag_tag t WHERE t.dag_id = d.dag_id ORDER BY t.name) AS tags
FROM dag d WHERE NOT d.is_stale ORDER BY d.dag_id

-- name: assets
-- The last event by the index of asset and time. Of assets with one name, the active one comes last.
SELECT a.id, a.name, a.uri, a."group", e.timestamp AS updated, coalesce(e.source_dag_id, '') AS by_dag,
    coalesce(e.source_task_id, '') AS by_task, coalesce(e.source_run_id, '') AS by_run,
    act.name IS NOT NULL AS is_active
FROM asset a
LEFT JOIN asset_active act ON act.name = a.name AND act.uri = a.uri
LEFT JOIN LATERAL (
    SELECT timestamp, source_dag_id, source_task_id, source_run_id FROM asset_event
    WHERE asset_id = a.id ORDER BY timestamp DESC LIMIT 1
) e ON true
ORDER BY is_active, a.id

-- name: outlets
SELECT asset_id, dag_id, task_id FROM task_outlet_asset_reference

-- name: inlets
SELECT asset_id, dag_id, task_id FROM task_inlet_asset_reference

-- name: schedules
-- An alias stands for the assets that its events were about.
SELECT asset_id, dag_id FROM dag_schedule_asset_reference
UNION
SELECT a.id, r.dag_id FROM dag_schedule_asset_name_reference r JOIN asset a ON a.name = r.name
UNION
SELECT a.id, r.dag_id FROM dag_schedule_asset_uri_reference r JOIN asset a ON a.uri = r.uri
UNION
SELECT s.asset_id, r.dag_id FROM dag_schedule_asset_alias_reference r
JOIN asset_alias_asset s ON s.alias_id = r.alias_id

-- name: writers
-- The tasks that made the last events of each asset.
SELECT DISTINCT a.id AS asset_id, e.source_dag_id AS dag_id, coalesce(e.source_task_id, '') AS task_id
FROM asset a CROSS JOIN LATERAL (
    SELECT source_dag_id, source_task_id FROM asset_event WHERE asset_id = a.id ORDER BY timestamp DESC LIMIT %(events)s
) e
WHERE e.source_dag_id IS NOT NULL

-- name: dependencies
-- What the newest version of each Dag says of other Dags. Airflow may compress a serialised Dag.
SELECT s.dag_id, s.data->'dag'->'dag_dependencies' AS dependencies,
    CASE WHEN s.data IS NULL THEN s.data_compressed END AS compressed
FROM unnest(%(dags)s::text[]) AS d (dag_id)
CROSS JOIN LATERAL (
    SELECT id FROM dag_version WHERE dag_id = d.dag_id ORDER BY version_number DESC LIMIT 1
) v
JOIN serialized_dag s ON s.dag_version_id = v.id

-- name: structures
SELECT s.dag_id, s.data, s.data_compressed AS compressed
FROM unnest(%(dags)s::text[]) AS d (dag_id)
CROSS JOIN LATERAL (
    SELECT id FROM dag_version WHERE dag_id = d.dag_id ORDER BY version_number DESC LIMIT 1
) v
JOIN serialized_dag s ON s.dag_version_id = v.id

-- name: runs
SELECT found.dag_id, found.succeeded, coalesce(newest.state, '') AS state
FROM (
    SELECT dag_id, max(end_date) FILTER (WHERE state = 'success') AS succeeded, max(id) AS newest
    FROM dag_run WHERE dag_id = ANY(%(dags)s::text[]) GROUP BY dag_id
) AS found
JOIN dag_run newest ON newest.id = found.newest

-- name: promises
-- Of each rule and subject: what is wrong, the next deadline, and how the last instance ended.
SELECT rule, kind, dag_id, task_id, asset,
    (array_agg(state ORDER BY due_at DESC) FILTER (WHERE is_alerting OR (ended_at IS NULL AND state <> 'due')))[1] AS wrong,
    min(due_at) FILTER (WHERE ended_at IS NULL AND state <> 'missed') AS due,
    (array_agg(state ORDER BY ended_at DESC) FILTER (WHERE ended_at IS NOT NULL))[1] AS ended
FROM (
    SELECT * FROM airfleet.sla_instance WHERE ended_at IS NULL OR is_alerting
    UNION
    SELECT * FROM airfleet.sla_instance WHERE ended_at > now() - interval '2 days'
) AS one
GROUP BY rule, kind, dag_id, task_id, asset

-- name: has_events
-- A database of an earlier version has no such table.
SELECT to_regclass('airfleet.dataset_use') IS NOT NULL AS found

-- name: uses
-- What events of OpenLineage say that tasks read and wrote, the last seen first.
SELECT u.dag_id, u.task_id, u.namespace, u.name, u.is_output, u.seen_at, u.run_id, u.columns
FROM airfleet.dataset_use u JOIN dag d ON d.dag_id = u.dag_id AND NOT d.is_stale
ORDER BY u.seen_at DESC LIMIT %(most)s

-- name: columns
SELECT u.dag_id, u.task_id, u.namespace, u.name, u.field, u.from_namespace, u.from_name, u.from_field, u.how
FROM airfleet.column_use u JOIN dag d ON d.dag_id = u.dag_id AND NOT d.is_stale
ORDER BY u.seen_at DESC LIMIT %(most)s
