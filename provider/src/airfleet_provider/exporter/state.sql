-- The statements of state.py. `%(name)s` is a parameter.

-- name: tasks
SELECT state, coalesce(queue, '') AS queue, coalesce(pool, '') AS pool, count(*) AS tasks,
    coalesce(sum(pool_slots), 0)::float8 AS slots,
    extract(epoch FROM clock_timestamp() - min(
        CASE state WHEN 'queued' THEN queued_dttm WHEN 'scheduled' THEN scheduled_dttm END))::float8 AS head_s
FROM task_instance
WHERE state IN ('scheduled', 'queued', 'running', 'restarting', 'deferred', 'awaiting_input', 'up_for_retry',
    'up_for_reschedule')
GROUP BY 1, 2, 3

-- name: hosts
SELECT coalesce(hostname, '') AS host, count(*) AS tasks FROM task_instance WHERE state = 'running' GROUP BY 1

-- name: pools
SELECT pool, slots::float8 AS slots, include_deferred FROM slot_pool

-- name: runs
SELECT 'queued' AS state, count(*) AS runs FROM dag_run WHERE state = 'queued'
UNION ALL
SELECT 'running', count(*) FROM dag_run WHERE state = 'running'

-- name: leases
-- All times of one row are by the database's clock.
SELECT l.name, l.epoch::float8 AS epoch, regexp_replace(l.holder, ':[^:]*$', '') AS holder,
    extract(epoch FROM clock_timestamp() - l.renewed_at)::float8 AS age_s
FROM airfleet.lease l WHERE l.epoch > 0

-- name: seats
SELECT name, state, extract(epoch FROM clock_timestamp() - seen_at)::float8 AS age_s FROM airfleet.seat
WHERE seen_at > clock_timestamp() - interval '1 day'

-- name: heartbeats
-- A component that crashed stays `running` in this table. After a month it is forgotten.
SELECT job_type, coalesce(hostname, '') AS host,
    min(extract(epoch FROM clock_timestamp() - latest_heartbeat))::float8 AS age_s
FROM job WHERE state = 'running' AND latest_heartbeat > clock_timestamp() - interval '30 days' GROUP BY 1, 2

-- name: slas
-- Every rule that the engine evaluates, and the open instances by the index of those.
SELECT known.rule, known.kind, open.state, coalesce(open.instances, 0) AS instances
FROM (
    SELECT one -> 'rule' ->> 'name' AS rule, one -> 'rule' ->> 'kind' AS kind
    FROM airfleet.sla_engine e,
        jsonb_array_elements(CASE jsonb_typeof(e.rules) WHEN 'array' THEN e.rules ELSE '[]' END) AS one
) AS known
LEFT JOIN (
    SELECT rule, kind, state, count(*) AS instances FROM airfleet.sla_instance WHERE ended_at IS NULL GROUP BY 1, 2, 3
) AS open ON open.rule = known.rule AND open.kind = known.kind

-- name: releaser
SELECT count(*) > 0 AS is_up FROM pg_locks
WHERE locktype = 'advisory' AND classid = 0 AND objid = %(lock)s AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: releases
SELECT bundle, live, extract(epoch FROM moved_at)::float8 AS moved FROM airfleet.pointer

-- name: deployments
SELECT state, count(*) AS deployments FROM airfleet.deployment
WHERE state IN ('requested', 'parsing', 'publishing', 'watching') GROUP BY 1

-- name: failed_deployments
SELECT count(*) AS deployments FROM (SELECT state, finished_at FROM airfleet.deployment ORDER BY id DESC LIMIT 200) d
WHERE state = 'failed' AND finished_at > clock_timestamp() - interval '1 day'

-- name: import_errors
SELECT coalesce(bundle_name, '') AS bundle, count(*) AS files FROM import_error GROUP BY 1

-- name: breakers
SELECT name, state, waiting::float8 AS waiting,
    coalesce(extract(epoch FROM clock_timestamp() - opened_at), 0)::float8 AS open_s
FROM airfleet.breaker

-- name: limits
SELECT l.name,
    CASE WHEN l.held_until > clock_timestamp() - interval '1 minute' THEN l.waiting ELSE 0 END::float8 AS waiting,
    l.active::float8 AS active, l.starts_per_minute::float8 AS most_starts,
    l.at_once::float8 AS most_active, (
        SELECT count(*) FROM airfleet.service_grant g
        WHERE g.limit_name = l.name AND g.outcome <> 'expired' AND g.granted_at > clock_timestamp() - interval '1 minute'
    )::float8 AS starts
FROM airfleet.service_limit l

-- name: traces
SELECT count(*) AS runs,
    coalesce(extract(epoch FROM clock_timestamp() - min(coalesce(r.end_date, r.updated_at))), 0)::float8 AS oldest_s
FROM airfleet.traced_run t JOIN dag_run r ON r.id = t.id
WHERE t.is_waiting AND r.state IN ('success', 'failed')

-- name: lineage
-- A backend without a row has everything.
SELECT backend, count(*)::float8 AS events,
    coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 AS oldest_s
FROM airfleet.lineage_delivery GROUP BY backend

-- name: lineage_unread
SELECT count(*)::float8 AS events FROM airfleet.lineage_event WHERE NOT is_read

-- name: record_totals
SELECT kind, amount::float8 AS amount FROM airfleet.record_total

-- name: record_spools
-- Nobody has taken the files since the supervisor said so, or it would have said so.
SELECT host, files::float8 AS files,
    CASE WHEN files = 0 THEN 0 ELSE oldest_s + extract(epoch FROM clock_timestamp() - told_at) END::float8 AS oldest_s
FROM airfleet.record_spool

-- name: trace_totals
SELECT kind, amount::float8 AS amount FROM airfleet.trace_total
