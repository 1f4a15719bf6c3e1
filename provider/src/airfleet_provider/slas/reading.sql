-- The statements of reading.py. They are read in one snapshot. `%(name)s` is a parameter.

-- name: cursor
SELECT now() AS now, e.evaluated_at, e.last_run, e.rules,
    (SELECT coalesce(max(id), 0) FROM dag_run) AS newest_run
FROM (SELECT 1) AS one LEFT JOIN airfleet.sla_engine e ON true

-- name: instances
-- The three parts have an index each.
SELECT * FROM airfleet.sla_instance WHERE ended_at IS NULL OR is_alerting
UNION
SELECT * FROM airfleet.sla_instance WHERE ended_at > %(recent)s
UNION
SELECT * FROM airfleet.sla_instance WHERE kind IN ('finished-by', 'fresh-by') AND due_at > %(daily)s

-- name: dags
SELECT d.dag_id, d.is_paused, d.is_stale, coalesce(d.has_import_errors, false) AS has_import_errors,
    d.next_dagrun_create_after AS next_run, coalesce(d.owners, '') AS owners
FROM dag d

-- name: tags
SELECT dag_id, array_agg(name) AS tags FROM dag_tag GROUP BY dag_id

-- name: versions
-- The first and the last version of each Dag, by the index of Dag and number.
SELECT d.dag_id, first.created_at AS known_since, last.id AS version
FROM unnest(%(dags)s::text[]) AS d (dag_id)
CROSS JOIN LATERAL (
    SELECT created_at FROM dag_version WHERE dag_id = d.dag_id ORDER BY version_number LIMIT 1
) AS first
CROSS JOIN LATERAL (
    SELECT id FROM dag_version WHERE dag_id = d.dag_id ORDER BY version_number DESC LIMIT 1
) AS last

-- name: structures
SELECT dag_version_id AS version, dag_id, data, data_compressed FROM serialized_dag
WHERE dag_version_id = ANY(%(versions)s::uuid[])

-- name: active_runs
SELECT id, dag_id, run_id, run_type, run_after, state, start_date, end_date FROM dag_run
WHERE state = 'running' AND dag_id = ANY(%(dags)s::text[])
UNION ALL
SELECT id, dag_id, run_id, run_type, run_after, state, start_date, end_date FROM dag_run
WHERE state = 'queued' AND dag_id = ANY(%(dags)s::text[])

-- name: new_runs
SELECT id, dag_id, run_id, run_type, run_after, state, start_date, end_date FROM dag_run
WHERE id > %(last)s AND id <> ALL(%(seen)s::bigint[]) AND dag_id = ANY(%(dags)s::text[])

-- name: named_runs
SELECT r.id, r.dag_id, r.run_id, r.run_type, r.run_after, r.state, r.start_date, r.end_date
FROM unnest(%(dags)s::text[], %(runs)s::text[]) AS one (dag_id, run_id)
JOIN dag_run r ON r.dag_id = one.dag_id AND r.run_id = one.run_id

-- name: runs_of_days
-- The index of `run_after` bounds what is read: about one day of runs.
SELECT id, dag_id, run_id, run_type, run_after, state, start_date, end_date FROM dag_run
WHERE run_after >= %(since)s AND dag_id = ANY(%(dags)s::text[])

-- name: tasks
SELECT t.dag_id, t.run_id, t.task_id, coalesce(t.state, 'null') AS state, count(*) AS count,
    min(t.scheduled_dttm) AS ready_at, min(t.start_date) AS started_at, max(t.end_date) AS ended_at
FROM unnest(%(dags)s::text[], %(runs)s::text[]) AS one (dag_id, run_id)
JOIN task_instance t ON t.dag_id = one.dag_id AND t.run_id = one.run_id
GROUP BY t.dag_id, t.run_id, t.task_id, coalesce(t.state, 'null')

-- name: ended_runs
-- Read once, when an engine begins. `end_date` has no index, so the primary key bounds what is read.
WITH last AS MATERIALIZED (
    SELECT id, dag_id, run_id, run_type, run_after, state, start_date, end_date FROM dag_run WHERE id > %(first)s
)
SELECT * FROM last WHERE state IN ('success', 'failed') AND end_date > %(ended_after)s AND dag_id = ANY(%(dags)s::text[])

-- name: assets
SELECT a.id, a.name, a.uri,
    (SELECT coalesce(array_agg(ARRAY[p.dag_id, p.task_id]), '{}') FROM task_outlet_asset_reference p
     WHERE p.asset_id = a.id) AS producers
FROM asset a JOIN asset_active act ON act.name = a.name AND act.uri = a.uri

-- name: updates
-- By the index of asset and time.
SELECT e.asset_id, e.timestamp AS made_at, coalesce(r.run_after, e.timestamp) AS due_at
FROM unnest(%(assets)s::int[], %(since)s::timestamptz[]) AS one (asset_id, since)
JOIN asset_event e ON e.asset_id = one.asset_id AND e.timestamp >= one.since
LEFT JOIN dag_run r ON r.dag_id = e.source_dag_id AND r.run_id = e.source_run_id
WHERE coalesce(r.run_type, '') <> 'backfill'

-- name: profiles
SELECT dag_id, samples FROM airfleet.sla_profile

-- name: last_successes
SELECT id, dag_id, run_id, run_type, run_after, state, start_date, end_date FROM dag_run
WHERE dag_id = %(dag)s AND state = 'success' AND run_type <> 'backfill' AND start_date IS NOT NULL
ORDER BY run_after DESC LIMIT %(count)s
