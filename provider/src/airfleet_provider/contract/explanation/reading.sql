-- The statements of reading.py: the facts for one explanation. `%(name)s` is a parameter.
--
-- No statement scans task_instance, dag_run or log: each uses an index by Dag, by run or by unfinished state. Where the
-- planner could walk another index backwards to save a sort, the rows are materialised first.

-- name: dag
WITH touched AS MATERIALIZED (
    SELECT id, dttm, owner FROM log
    WHERE dag_id = %(dag)s AND event IN ('patch_dag', 'patch_dags', 'cli_dag_pause', 'cli_dag_unpause')
)
SELECT d.dag_id AS dag, d.is_paused, d.is_stale, coalesce(d.has_import_errors, false) AS has_import_errors,
    coalesce(d.exceeds_max_non_backfill, false) AS has_max_runs, d.bundle_name AS bundle, d.bundle_version AS release,
    d.relative_fileloc AS file, d.max_active_tasks, d.max_active_runs, d.next_dagrun AS next_logical_date,
    d.next_dagrun_create_after AS next_run_after, d.timetable_summary AS schedule,
    coalesce(d.asset_expression::text, 'null') <> 'null' AS by_assets, d.allowed_run_types AS run_types,
    d.last_parsed_time AS parsed_at, p.live AS live_release, p.moved_at AS live_since, t.dttm AS paused_since,
    t.owner AS paused_by
FROM dag d LEFT JOIN airfleet.pointer p ON p.bundle = d.bundle_name
LEFT JOIN LATERAL (SELECT dttm, owner FROM touched ORDER BY id DESC LIMIT 1) t ON true
WHERE d.dag_id = %(dag)s

-- name: now
-- A database that no airfleet of this version has migrated yet has no SLAs, or no breakers.
SELECT clock_timestamp() AS now, to_regclass('airfleet.sla_instance') IS NOT NULL AS has_slas,
    EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = to_regclass('airfleet.breaker') AND attname = 'waiting_tasks'
    ) AS has_breakers,
    to_regclass('airfleet.service_limit') IS NOT NULL AS has_limits

-- name: jobs
SELECT id, job_type, coalesce(hostname, '') AS hostname, latest_heartbeat AS heartbeat,
    extract(epoch FROM clock_timestamp() - latest_heartbeat)::float AS age_s
FROM job
WHERE state = 'running' AND latest_heartbeat > clock_timestamp() - interval '1 day'
ORDER BY latest_heartbeat DESC LIMIT 100

-- name: lease
-- A platform whose scheduler needs no lease has never set a holder.
SELECT holder, renewed_at AS renewed, extract(epoch FROM clock_timestamp() - renewed_at)::float AS age_s
FROM airfleet.lease WHERE name = 'scheduler' AND epoch > 0

-- name: candidates
SELECT name, state FROM airfleet.seat WHERE seen_at > clock_timestamp() - interval '20 s' ORDER BY name

-- name: activity
SELECT coalesce(queue, 'default') AS queue, state, count(*) AS count, min(coalesce(start_date, queued_dttm)) AS oldest
FROM task_instance WHERE state IN ('queued', 'running') GROUP BY 1, 2

-- name: failures
SELECT coalesce(filename, '') AS file, coalesce(bundle_name, '') AS bundle, timestamp AS since,
    coalesce(stacktrace, '') AS message
FROM import_error
WHERE %(file)s::text IS NULL OR (filename = %(file)s AND bundle_name IS NOT DISTINCT FROM %(bundle)s)
ORDER BY filename LIMIT 20

-- name: assets
SELECT a.name, q.created_at IS NOT NULL AS seen
FROM dag_schedule_asset_reference r JOIN asset a ON a.id = r.asset_id
LEFT JOIN asset_dag_run_queue q ON q.asset_id = r.asset_id AND q.target_dag_id = r.dag_id
WHERE r.dag_id = %(dag)s ORDER BY a.name LIMIT 50

-- name: run
SELECT r.run_id AS run, r.state, r.run_type, r.run_after, r.logical_date, r.queued_at, r.start_date AS started,
    r.end_date AS ended, r.backfill_id AS backfill, b.max_active_runs AS backfill_limit,
    coalesce(b.is_paused, false) AS backfill_paused, coalesce(o.sort_ordinal = 1, false) AS first_in_backfill,
    r.created_dag_version_id::text AS version, r.bundle_version AS release
FROM dag_run r LEFT JOIN backfill b ON b.id = r.backfill_id
LEFT JOIN backfill_dag_run o ON o.backfill_id = r.backfill_id AND o.dag_run_id = r.id
WHERE r.dag_id = %(dag)s AND r.run_id = %(run)s

-- name: active_runs
SELECT r.run_id AS run, r.state, r.run_type, r.run_after, r.logical_date, r.queued_at, r.start_date AS started,
    r.end_date AS ended, r.backfill_id AS backfill, NULL::int AS backfill_limit, false AS backfill_paused,
    false AS first_in_backfill, r.created_dag_version_id::text AS version, r.bundle_version AS release
FROM dag_run r WHERE r.dag_id = %(dag)s AND r.state IN ('running', 'queued')
ORDER BY r.state DESC, r.start_date NULLS LAST, r.run_after LIMIT 500

-- name: newest_runs
WITH own AS MATERIALIZED (SELECT run_id, run_after FROM dag_run WHERE dag_id = %(dag)s)
SELECT run_id AS run FROM own WHERE %(part)s::text IS NULL OR strpos(run_id, %(part)s) > 0
ORDER BY run_after DESC LIMIT %(limit)s

-- name: like_dags
SELECT dag_id AS dag FROM dag ORDER BY dag_id

-- name: spec
-- Airflow takes the newest version for a run without a release, and the version of its creation for every other.
SELECT s.data FROM serialized_dag s
WHERE s.dag_version_id = coalesce(
    CASE WHEN %(release)s::text IS NOT NULL THEN %(version)s::uuid END,
    (SELECT id FROM dag_version WHERE dag_id = %(dag)s ORDER BY version_number DESC LIMIT 1)
)

-- name: counts
SELECT task_id AS task, coalesce(state, 'none') AS state, CASE WHEN %(by_index)s THEN map_index END AS map_index,
    count(*) AS count
FROM task_instance WHERE dag_id = %(dag)s AND run_id = %(run)s GROUP BY 1, 2, 3

-- name: tasks
SELECT t.task_id AS task, t.map_index, coalesce(t.state, 'none') AS state, t.try_number, t.max_tries, t.pool,
    t.pool_slots, coalesce(t.queue, 'default') AS queue, coalesce(t.priority_weight, 1) AS priority,
    t.scheduled_dttm AS scheduled_at, t.queued_dttm AS queued_at, t.start_date AS started, t.end_date AS ended,
    t.updated_at AS updated, t.last_heartbeat_at AS heartbeat, nullif(t.hostname, '') AS hostname, t.pid,
    t.queued_by_job_id AS queued_by, t.retry_delay_override AS retry_delay_s, t.retry_reason, t.trigger_id AS trigger,
    g.classpath AS trigger_class, g.created_date AS trigger_since, t.trigger_timeout AS trigger_until,
    g.triggerer_id AS triggerer,
    CASE WHEN t.state IS NULL OR t.state = 'up_for_reschedule' THEN (
        SELECT s.reschedule_date FROM task_reschedule s WHERE s.ti_id = t.id ORDER BY s.id DESC LIMIT 1
    ) END AS reschedule_at
FROM task_instance t LEFT JOIN trigger g ON g.id = t.trigger_id
WHERE t.dag_id = %(dag)s AND t.run_id = %(run)s
    AND CASE WHEN %(task)s::text IS NULL THEN t.state IS NULL OR t.state NOT IN ('success', 'skipped', 'removed')
        ELSE t.task_id = %(task)s AND (%(map_index)s::int IS NULL OR t.map_index = %(map_index)s) END
ORDER BY t.state = 'failed' DESC NULLS LAST, t.state = 'running' DESC NULLS LAST, t.task_id, t.map_index
LIMIT %(limit)s

-- name: pools
SELECT p.pool AS name, p.slots, p.include_deferred AS counts_deferred,
    coalesce(sum(t.pool_slots) FILTER (WHERE t.state = 'running'), 0)::int AS running,
    coalesce(sum(t.pool_slots) FILTER (WHERE t.state = 'queued'), 0)::int AS queued,
    coalesce(sum(t.pool_slots) FILTER (WHERE t.state = 'deferred'), 0)::int AS deferred,
    (count(*) FILTER (WHERE t.state = 'scheduled'))::int AS waiting
FROM slot_pool p
LEFT JOIN task_instance t ON t.pool = p.pool AND t.state IN ('running', 'queued', 'deferred', 'scheduled')
GROUP BY p.pool, p.slots, p.include_deferred ORDER BY p.pool

-- name: holders
SELECT pool, dag_id AS dag, run_id AS run, task_id AS task, map_index, state, pool_slots AS slots, since, hostname
FROM (
    SELECT t.*, coalesce(t.start_date, t.queued_dttm) AS since,
        row_number() OVER (PARTITION BY t.pool ORDER BY t.state = 'running' DESC, coalesce(t.start_date, t.queued_dttm))
            AS place
    FROM task_instance t JOIN slot_pool p USING (pool)
    WHERE t.pool = ANY(%(pools)s) AND (t.state IN ('running', 'queued') OR (p.include_deferred AND t.state = 'deferred'))
) held WHERE place <= %(limit)s ORDER BY pool, place

-- name: concurrency
SELECT task_id AS task, run_id AS run, count(*) AS count FROM task_instance
WHERE dag_id = %(dag)s AND state IN ('running', 'queued', 'deferred', 'awaiting_input') GROUP BY 1, 2

-- name: rivals
SELECT task_id AS task, map_index, pool, coalesce(priority_weight, 1) AS priority FROM task_instance
WHERE dag_id = %(dag)s AND run_id = %(run)s AND state = 'scheduled'
ORDER BY priority_weight DESC, map_index, task_id LIMIT %(limit)s

-- name: ahead
-- The scheduler takes task instances by priority, then by logical date (without one: last), then by map index.
SELECT count(*) AS count FROM task_instance t
JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id AND r.state = 'running'
JOIN dag d ON d.dag_id = t.dag_id AND NOT d.is_paused
WHERE t.state = 'scheduled' AND t.pool = %(pool)s
    AND (-t.priority_weight, coalesce(r.logical_date, 'infinity'), t.map_index)
        < (-(%(priority)s), coalesce(%(logical_date)s::timestamptz, 'infinity'), %(map_index)s)

-- name: past
SELECT r.run_id AS run FROM dag_run r
WHERE r.dag_id = %(dag)s AND r.logical_date < %(logical_date)s AND (NOT %(scheduled)s OR r.run_type <> 'manual')
ORDER BY r.logical_date DESC LIMIT 1

-- name: prior
SELECT n.task FROM unnest(%(tasks)s::text[]) AS n(task)
WHERE EXISTS (
    SELECT 1 FROM task_instance t JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id
    WHERE t.dag_id = %(dag)s AND t.task_id = n.task AND r.logical_date < %(logical_date)s
)

-- name: events
WITH own AS MATERIALIZED (
    SELECT id, event, dttm, coalesce(extra, '') AS text FROM log
    WHERE dag_id = %(dag)s AND task_id = %(task)s AND run_id = %(run)s AND coalesce(map_index, -1) = %(map_index)s
)
SELECT event, dttm AS at, text FROM own ORDER BY id DESC LIMIT 30

-- name: usual
-- The names of scheduled runs begin with their date, so the index gives the newest runs first.
SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY duration)::float AS usual_s, count(*) AS count
FROM (
    SELECT duration FROM task_instance
    WHERE dag_id = %(dag)s AND task_id = %(task)s AND state = 'success' AND run_id <> %(run)s AND duration IS NOT NULL
    ORDER BY run_id DESC LIMIT 30
) newest

-- name: breakers
SELECT b.name, b.state, b.opened_at AS since, b.probe_at AS probe, b.wave, b.reason, b.actor, b.waiting,
    w.pair ->> 1 AS task
FROM airfleet.breaker b, jsonb_array_elements(b.waiting_tasks) AS w (pair)
WHERE b.state <> 'closed' AND w.pair ->> 0 = %(dag)s ORDER BY b.name

-- name: limits
-- A scheduler writes each second what waits. What is older, nobody has ended.
SELECT l.name, l.starts_per_minute, l.at_once, l.active, l.waiting, l.tokens, w.pair ->> 1 AS task,
    extract(epoch FROM clock_timestamp() - l.refilled_at)::float8 AS idle_s
FROM airfleet.service_limit l, jsonb_array_elements(l.waiting_tasks) AS w (pair)
WHERE l.waiting > 0 AND l.held_until > clock_timestamp() - interval '1 minute' AND w.pair ->> 0 = %(dag)s ORDER BY l.name

-- name: limit_place
-- The order is that of `breakers/limits.sql`, but for what cannot start now. 0: the instance may start already.
WITH pair AS (
    SELECT w.pair ->> 0 AS dag_id, w.pair ->> 1 AS task_id
    FROM airfleet.service_limit l, jsonb_array_elements(l.waiting_tasks) AS w (pair) WHERE l.name = %(name)s
), served AS (
    SELECT dag_id, count(*) AS starts FROM airfleet.service_grant
    WHERE limit_name = %(name)s AND outcome <> 'expired' AND granted_at > clock_timestamp() - interval '1 minute'
    GROUP BY dag_id
), queue AS (
    SELECT t.dag_id, t.run_id, t.task_id, t.map_index, t.priority_weight, r.logical_date,
        coalesce(served.starts, 0) + row_number() OVER (
            PARTITION BY t.dag_id ORDER BY -t.priority_weight, r.logical_date, t.map_index
        ) AS turn
    FROM task_instance t
    JOIN pair ON pair.dag_id = t.dag_id AND pair.task_id = t.task_id
    JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id AND r.state = 'running'
    JOIN dag d ON d.dag_id = t.dag_id AND NOT d.is_paused
    LEFT JOIN served ON served.dag_id = t.dag_id
    WHERE t.state = 'scheduled' AND t.next_method IS NULL AND NOT EXISTS (
        SELECT FROM airfleet.service_grant g
        WHERE g.limit_name = %(name)s AND g.instance = t.id AND g.outcome = 'open'
    )
), placed AS (
    SELECT *, row_number() OVER (ORDER BY turn, -priority_weight, logical_date, map_index) AS place FROM queue
)
SELECT coalesce((
    SELECT place FROM placed
    WHERE dag_id = %(dag)s AND run_id = %(run)s AND task_id = %(task)s AND map_index = %(map_index)s
), 0)::int AS place

-- name: promises
SELECT rule, kind, task_id AS task, run_id AS run, state, due_at AS due, changed_at AS changed, reason
FROM airfleet.sla_instance
WHERE (ended_at IS NULL OR is_alerting) AND dag_id = %(dag)s AND state IN ('at-risk', 'late', 'missed')
ORDER BY due_at LIMIT 5
