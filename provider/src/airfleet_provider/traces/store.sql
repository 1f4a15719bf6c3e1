-- The statements of store.py. `%(name)s` is a parameter. None of them scans a table of Airflow.

-- name: begin
-- The first look takes all earlier runs as known: their traces are not sent.
INSERT INTO airfleet.watermark (name, value)
SELECT name, coalesce((SELECT max(id) FROM public.dag_run), 0)
FROM (VALUES ('traces_first'), ('traces_last')) AS names (name)
ON CONFLICT (name) DO NOTHING

-- name: now
-- The time of the database, and that of the last look whose moment was written, in milliseconds.
SELECT clock_timestamp() AS now,
    (SELECT to_timestamp(value / 1000.0) FROM airfleet.watermark WHERE name = 'traces_looked') AS looked

-- name: unnoted
-- The newest runs, the unfinished ones, and those with a try that was made since the last look: so a run of any age is
-- found that was cleared. An id may be committed after a higher one, so the last ones are read again and again.
WITH bounds AS (
    SELECT greatest(
        (SELECT value FROM airfleet.watermark WHERE name = 'traces_first'),
        (SELECT value FROM airfleet.watermark WHERE name = 'traces_last') - %(overlap)s
    ) AS after
), found AS (
    SELECT r.id, r.state, r.end_date, r.updated_at FROM public.dag_run r WHERE r.id > (SELECT after FROM bounds)
    UNION
    SELECT r.id, r.state, r.end_date, r.updated_at FROM public.dag_run r WHERE r.state = 'running'
    UNION
    SELECT r.id, r.state, r.end_date, r.updated_at FROM public.dag_run r WHERE r.state = 'queued'
    UNION
    SELECT r.id, r.state, r.end_date, r.updated_at
    FROM (SELECT DISTINCT dag_id, run_id FROM public.task_instance WHERE id > %(made_after)s::uuid) AS made
    JOIN public.dag_run r ON r.dag_id = made.dag_id AND r.run_id = made.run_id
)
SELECT f.id FROM found f LEFT JOIN airfleet.traced_run t ON t.id = f.id
WHERE t.id IS NULL OR (NOT t.is_waiting AND (
    f.state IN ('running', 'queued') OR coalesce(f.end_date, f.updated_at) IS DISTINCT FROM t.sent_until
))

-- name: note
INSERT INTO airfleet.traced_run (id) SELECT unnest(%(ids)s::bigint[])
ON CONFLICT (id) DO UPDATE SET is_waiting = true, failures = 0 WHERE NOT traced_run.is_waiting

-- name: advance
UPDATE airfleet.watermark SET value = greatest(value, %(last)s) WHERE name = 'traces_last'

-- name: look
INSERT INTO airfleet.watermark (name, value)
VALUES ('traces_looked', floor(1000 * extract(epoch FROM %(looked)s::timestamptz)))
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: newest
-- Of one snapshot with `unnoted`.
SELECT coalesce(max(id), 0) AS id FROM public.dag_run

-- name: waiting
-- A run that was tried in vain comes after the others, so that it does not keep them back.
SELECT t.id, t.failures, t.sent_until, r.dag_id AS dag, r.run_id AS run, coalesce(r.end_date, r.updated_at) AS ended
FROM airfleet.traced_run t JOIN public.dag_run r ON r.id = t.id
WHERE t.is_waiting AND r.state IN ('success', 'failed')
    AND coalesce(r.end_date, r.updated_at) < clock_timestamp() - make_interval(secs => %(settled_s)s)
ORDER BY t.failures, t.id LIMIT %(most)s

-- name: rescheduled
-- A sensor in the mode `reschedule` gives its slot back between two looks.
SELECT s.ti_id::text AS try, s.end_date AS begin, s.reschedule_date AS until
FROM public.task_reschedule s JOIN public.task_instance t ON t.id = s.ti_id
WHERE t.dag_id = %(dag)s AND t.run_id = %(run)s ORDER BY s.id LIMIT %(most)s

-- name: events
-- The rows of Airflow's log about tries of this run, by the index of Dag, task and run. Their text is not read: users
-- write it too.
SELECT l.event, l.dttm AS at, l.task_id AS task, coalesce(l.map_index, -1) AS map_index, l.try_number AS number
FROM (SELECT DISTINCT task_id FROM public.task_instance WHERE dag_id = %(dag)s AND run_id = %(run)s) AS t
CROSS JOIN LATERAL (
    SELECT id, event, dttm, task_id, map_index, try_number FROM public.log
    WHERE dag_id = %(dag)s AND task_id = t.task_id AND run_id = %(run)s
) AS l
WHERE l.try_number IS NOT NULL AND l.event = ANY(%(events)s)
ORDER BY l.id LIMIT %(most)s

-- name: old
SELECT t.id FROM airfleet.traced_run t JOIN public.dag_run r ON r.id = t.id
WHERE t.is_waiting AND r.state IN ('success', 'failed')
    AND coalesce(r.end_date, r.updated_at) < clock_timestamp() - make_interval(secs => %(oldest_s)s)

-- name: give_up
UPDATE airfleet.traced_run t
SET is_waiting = false, failures = 0, sent_until = coalesce(r.end_date, r.updated_at), sent_at = clock_timestamp()
FROM public.dag_run r
WHERE r.id = t.id AND t.is_waiting AND t.id = ANY(%(ids)s) AND r.state IN ('success', 'failed')
RETURNING t.id

-- name: settle
UPDATE airfleet.traced_run SET is_waiting = false, failures = 0, sent_until = %(ended)s, sent_at = clock_timestamp()
WHERE id = %(id)s

-- name: fail
UPDATE airfleet.traced_run SET failures = failures + 1 WHERE id = ANY(%(ids)s)

-- name: count
INSERT INTO airfleet.trace_total (kind, amount) VALUES (%(kind)s, %(amount)s)
ON CONFLICT (kind) DO UPDATE SET amount = trace_total.amount + excluded.amount

-- name: prune_deleted
-- Apart from the next one: with both conditions in one statement, PostgreSQL would look for each run by itself.
DELETE FROM airfleet.traced_run t WHERE NOT EXISTS (SELECT FROM public.dag_run r WHERE r.id = t.id)

-- name: prune_old
-- What was sent is known for as long as a run may be cleared and found by nothing but this.
DELETE FROM airfleet.traced_run t
WHERE NOT t.is_waiting AND t.sent_at < clock_timestamp() - make_interval(days => %(days)s)
    AND t.id < (SELECT value FROM airfleet.watermark WHERE name = 'traces_last') - %(overlap)s

-- name: forget
WITH runs AS (DELETE FROM airfleet.traced_run)
DELETE FROM airfleet.watermark WHERE name IN ('traces_first', 'traces_last', 'traces_looked')
