-- The statements of reading.py: what happened from %(since)s until before %(until)s. All return the same columns.
--
-- Each uses an index by time, or reads a table that is small: alerts, releases and jobs are few.

-- name: audit
-- What people did, in the words of Airflow. States of tasks and starts of components are events too, and are left out.
-- So are tries that the Fleet pages refused: they changed nothing.
SELECT dttm AS at, 'change' AS kind, concat_ws(' ', dag_id, run_id, task_id) AS subject, event AS what,
    coalesce(owner, '') AS actor, false AS is_bad
FROM log
WHERE dttm >= %(since)s AND dttm < %(until)s AND owner IS NOT NULL
    AND event NOT IN ('running', 'success', 'failed', 'skipped', 'up_for_retry', 'up_for_reschedule', 'deferred', 'queued',
        'scheduled', 'removed', 'upstream_failed', 'restarting', 'state mismatch', 'heartbeat timeout',
        'cli_scheduler', 'cli_triggerer', 'cli_dag_processor', 'cli_api_server', 'cli_worker')
    AND event NOT LIKE 'stuck in queued%%' AND event NOT LIKE 'get\_%%' AND event NOT LIKE 'cli\_%%list%%'
    AND event NOT LIKE 'cli\_%%show%%' AND event NOT LIKE 'airfleet\_%%\_refused'
ORDER BY dttm DESC LIMIT %(limit)s

-- name: lost_tasks
-- What the scheduler did to tasks that nobody ran any more.
SELECT dttm AS at, 'tasks' AS kind, concat_ws(' ', dag_id, run_id, task_id) AS subject, event AS what, '' AS actor,
    true AS is_bad
FROM log
WHERE dttm >= %(since)s AND dttm < %(until)s
    AND (event IN ('state mismatch', 'heartbeat timeout') OR event LIKE 'stuck in queued%%')
ORDER BY dttm DESC LIMIT %(limit)s

-- name: runs
-- There is no index by the end of a run, so runs that began long before are not seen.
SELECT end_date AS at, 'run' AS kind, concat_ws(' ', dag_id, run_id) AS subject, 'the run failed' AS what, '' AS actor,
    true AS is_bad
FROM dag_run
WHERE run_after >= %(since)s::timestamptz - interval '3 days' AND run_after < %(until)s
    AND state = 'failed' AND end_date >= %(since)s AND end_date < %(until)s
ORDER BY end_date DESC LIMIT %(limit)s

-- name: releases
SELECT coalesce(live_at, finished_at, started_at, requested_at) AS at, 'release' AS kind,
    concat_ws(' ', bundle, left(release, 12)) AS subject,
    concat_ws(': ', action || ' ' || state, nullif(verdict, ''), nullif(reason, '')) AS what, coalesce(actor, '') AS actor,
    state = 'failed' OR action = 'rollback' AS is_bad
FROM airfleet.deployment
WHERE action IN ('promote', 'rollback') AND coalesce(live_at, finished_at, started_at, requested_at) >= %(since)s
    AND coalesce(live_at, finished_at, started_at, requested_at) < %(until)s
ORDER BY 1 DESC LIMIT %(limit)s

-- name: schedulers
SELECT taken_at AS at, 'failover' AS kind, concat_ws(' on ', seat, nullif(machine, '')) AS subject,
    'became the active scheduler: ' || why AS what, '' AS actor, epoch > 1 AS is_bad
FROM airfleet.tenure WHERE taken_at >= %(since)s AND taken_at < %(until)s
ORDER BY taken_at DESC LIMIT %(limit)s

-- name: components
SELECT one.at, 'component' AS kind, concat_ws(' on ', job_type, nullif(hostname, '')) AS subject, one.what, '' AS actor,
    one.what = 'ended' AS is_bad
FROM job CROSS JOIN LATERAL (VALUES (start_date, 'started'), (end_date, 'ended')) one (at, what)
WHERE job_type IN ('SchedulerJob', 'TriggererJob', 'DagProcessorJob') AND latest_heartbeat >= %(since)s
    AND one.at >= %(since)s AND one.at < %(until)s
ORDER BY 1 DESC LIMIT %(limit)s

-- name: alerts
SELECT one.at, 'alert' AS kind, name AS subject, one.what, one.actor, one.is_bad
FROM airfleet.alert CROSS JOIN LATERAL (VALUES
    (raised_at, severity || ': ' || summary, '', true),
    (resolved_at, concat_ws(': ', 'ended', nullif(end_note, '')), ended_by, false)
) one (at, what, actor, is_bad)
WHERE (raised_at >= %(since)s OR resolved_at >= %(since)s) AND one.at >= %(since)s AND one.at < %(until)s
ORDER BY 1 DESC LIMIT %(limit)s

-- name: answers
SELECT one.at, 'alert' AS kind, one.subject, one.what, one.actor, false AS is_bad
FROM (
    SELECT c.acknowledged_at, a.name, concat_ws(': ', 'acknowledged by ' || c.via, nullif(c.note, '')), c.actor
    FROM airfleet.acknowledgement c JOIN airfleet.alert a ON a.id = c.alert
    UNION ALL
    SELECT starts_at, matchers::text, concat_ws(': ', 'silenced', nullif(comment, '')), actor FROM airfleet.silence
    UNION ALL
    SELECT n.sent_at, a.name, 'told ' || n.receiver || CASE n.kind WHEN 'firing' THEN '' ELSE ' (' || n.kind || ')' END, ''
    FROM airfleet.notification n JOIN airfleet.alert a ON a.id = n.alert WHERE n.sent_at IS NOT NULL
) one (at, subject, what, actor)
WHERE one.at >= %(since)s AND one.at < %(until)s
ORDER BY 1 DESC LIMIT %(limit)s

-- name: promises
SELECT changed_at AS at, 'promise' AS kind, concat_ws(' ', rule, nullif(dag_id, ''), nullif(task_id, ''), nullif(asset, ''))
    AS subject, concat_ws(': ', state, nullif(reason, '')) AS what, '' AS actor, state <> 'met' AS is_bad
FROM airfleet.sla_instance
WHERE due_at >= %(since)s::timestamptz - interval '1 day' AND changed_at >= %(since)s AND changed_at < %(until)s
    AND state IN ('at-risk', 'late', 'missed')
ORDER BY changed_at DESC LIMIT %(limit)s

-- name: breakers
SELECT happened_at AS at, 'breaker' AS kind, breaker AS subject, concat_ws(': ', state, nullif(reason, '')) AS what, actor,
    state = 'open' AS is_bad
FROM airfleet.breaker_event WHERE happened_at >= %(since)s AND happened_at < %(until)s
ORDER BY happened_at DESC LIMIT %(limit)s

-- name: imports
SELECT timestamp AS at, 'dag' AS kind, coalesce(filename, '') AS subject,
    'does not load: ' || coalesce(nullif(regexp_replace(rtrim(stacktrace, E' \r\n'), '^.*\n', ''), ''), '') AS what, '' AS actor,
    true AS is_bad
FROM import_error WHERE timestamp >= %(since)s AND timestamp < %(until)s
ORDER BY timestamp DESC LIMIT %(limit)s
