-- The statements of failures.py. `%(name)s` is a parameter.

-- name: begin
-- The first look takes all earlier runs as known. So nobody is notified of failures from before.
INSERT INTO airfleet.watermark (name, value)
SELECT name, coalesce((SELECT max(id) FROM public.dag_run), 0)
FROM (VALUES ('failures_first'), ('failures_last')) AS names (name)
ON CONFLICT (name) DO NOTHING

-- name: changed
-- Runs that have ended, of those that had not ended at the last look and of the new ones, and open runs that are not
-- watched yet: all of one snapshot, so that no run ends in between unseen. An id may be committed after a higher one, so
-- the last ones are read again and again.
WITH bounds AS (
    SELECT greatest(
        (SELECT value FROM airfleet.watermark WHERE name = 'failures_first'),
        (SELECT value FROM airfleet.watermark WHERE name = 'failures_last') - %(overlap)s
    ) AS after
)
SELECT r.id, r.dag_id, r.run_id, r.run_type, r.state, r.end_date, true AS is_watched,
    coalesce(r.end_date < clock_timestamp() - make_interval(days => %(days)s), false) AS is_old
FROM public.dag_run r JOIN airfleet.watched_run w ON w.id = r.id
WHERE r.state IN ('success', 'failed')
UNION ALL
SELECT r.id, r.dag_id, r.run_id, r.run_type, r.state, r.end_date, false,
    coalesce(r.end_date < clock_timestamp() - make_interval(days => %(days)s), false)
FROM public.dag_run r
WHERE r.id > (SELECT after FROM bounds) AND r.state IN ('success', 'failed')
    AND NOT EXISTS (SELECT FROM airfleet.watched_run w WHERE w.id = r.id)
UNION ALL
SELECT r.id, r.dag_id, r.run_id, r.run_type, r.state, r.end_date, false, false
FROM public.dag_run r
WHERE r.state IN ('running', 'queued') AND NOT EXISTS (SELECT FROM airfleet.watched_run w WHERE w.id = r.id)

-- name: failing
-- Tasks that have failed for good in runs that go on.
SELECT r.id, r.dag_id, r.run_id, min(t.end_date) AS ended_at, count(*) AS number,
    (array_agg(t.task_id ORDER BY t.end_date))[1:%(most)s] AS tasks
FROM public.dag_run r JOIN public.task_instance t ON t.dag_id = r.dag_id AND t.run_id = r.run_id
WHERE r.state = 'running' AND t.state = 'failed'
GROUP BY r.id, r.dag_id, r.run_id

-- name: failed_tasks
SELECT min(end_date) AS ended_at, count(*) AS number,
    (array_agg(task_id ORDER BY end_date))[1:%(most)s] AS tasks
FROM public.task_instance WHERE dag_id = %(dag)s AND run_id = %(run)s AND state = 'failed'

-- name: dags
SELECT d.dag_id, coalesce(d.owners, '') AS owners,
    coalesce((SELECT array_agg(name ORDER BY name) FROM public.dag_tag t WHERE t.dag_id = d.dag_id), '{}') AS tags
FROM public.dag d WHERE d.dag_id = ANY(%(dags)s)

-- name: remember
WITH gone AS (
    DELETE FROM airfleet.watched_run w
    WHERE w.id = ANY(%(ended)s) OR NOT EXISTS (SELECT FROM public.dag_run r WHERE r.id = w.id)
), added AS (
    INSERT INTO airfleet.watched_run (id) SELECT unnest(%(open)s::bigint[]) ON CONFLICT DO NOTHING
)
UPDATE airfleet.watermark SET value = greatest(value, %(last)s) WHERE name = 'failures_last'

-- name: succeeded
-- A failure is over once a later run of the Dag, or the run itself after it was cleared, has succeeded. A backfill repeats
-- the past and heals nothing but itself.
UPDATE airfleet.alert AS alert SET resolved_at = clock_timestamp()
FROM unnest(%(dags)s::text[], %(runs)s::bigint[], %(backfills)s::boolean[]) AS done (dag, run, is_backfill)
WHERE alert.resolved_at IS NULL AND alert.source = %(source)s AND alert.labels ->> 'dag_id' = done.dag
    AND (alert.labels ->> 'number')::bigint <= done.run
    AND (NOT done.is_backfill OR (alert.labels ->> 'number')::bigint = done.run)

-- name: open
-- A run that goes on with failed tasks is reported again in each turn, so its alert was seen just now.
SELECT a.id, a.fingerprint, a.labels ->> 'dag_id' AS dag_id, r.id IS NULL AS is_run_gone,
    coalesce(d.is_stale, true) AND a.seen_at < clock_timestamp() - make_interval(days => %(days)s) AS is_dag_gone,
    r.state IN ('queued', 'running') AND NOT EXISTS (
        SELECT FROM public.task_instance t WHERE t.dag_id = r.dag_id AND t.run_id = r.run_id AND t.state = 'failed'
    ) AS runs_again
FROM airfleet.alert a
LEFT JOIN public.dag_run r ON r.id = (a.labels ->> 'number')::bigint
LEFT JOIN public.dag d ON d.dag_id = a.labels ->> 'dag_id'
WHERE a.resolved_at IS NULL AND a.source = %(source)s AND a.name = %(name)s

-- name: recent
SELECT count(*) AS alerts FROM airfleet.alert
WHERE source = %(source)s AND name = %(name)s AND ended_by <> %(held_back_by)s
    AND raised_at > clock_timestamp() - make_interval(secs => %(window)s)

-- name: told
SELECT failure.fingerprint
FROM unnest(%(fingerprints)s::text[], %(since)s::timestamptz[]) AS failure (fingerprint, since)
WHERE EXISTS (
    SELECT FROM airfleet.alert a WHERE a.fingerprint = failure.fingerprint
        AND (a.resolved_at IS NULL OR a.started_at = failure.since)
)

-- name: hold_back
-- Nobody is notified of an alert that is settled.
UPDATE airfleet.alert SET resolved_at = clock_timestamp(), settled_at = clock_timestamp(), ended_by = %(held_back_by)s,
    end_note = %(note)s
WHERE id = %(id)s

-- name: end_crowd
UPDATE airfleet.alert SET resolved_at = clock_timestamp()
WHERE fingerprint = %(fingerprint)s AND resolved_at IS NULL
    AND seen_at < clock_timestamp() - make_interval(secs => %(window)s)
