-- The statements of store.py. `%(name)s` is a parameter.

-- name: unread
-- Who wrote an event is what the database has of the attempt whose token came with it, and not what the event says.
SELECT e.number, e.body, coalesce(t.dag_id, h.dag_id) AS dag, coalesce(t.task_id, h.task_id) AS task,
    coalesce(t.run_id, h.run_id) AS run
FROM airfleet.lineage_event e
LEFT JOIN public.task_instance t ON t.id = e.instance
LEFT JOIN public.task_instance_history h ON h.task_instance_id = e.instance
WHERE NOT e.is_read ORDER BY e.number LIMIT %(most)s

-- name: keep_uses
-- `seen_at` is the time at which the event arrived, by the clock of the database. Rows come in the order of their key.
WITH given AS (
    SELECT namespace, name, is_output, columns FROM jsonb_to_recordset(%(uses)s::jsonb) AS given (
        namespace text, name text, is_output boolean, columns text[]
    ) ORDER BY namespace, name, is_output
), known AS (
    SELECT count(*) AS uses FROM airfleet.dataset_use WHERE dag_id = %(dag)s AND task_id = %(task)s
)
INSERT INTO airfleet.dataset_use AS u (dag_id, task_id, namespace, name, is_output, seen_at, run_id, columns)
SELECT %(dag)s, %(task)s, g.namespace, g.name, g.is_output,
    (SELECT arrived_at FROM airfleet.lineage_event WHERE number = %(event)s), %(run)s, g.columns
FROM given g
WHERE (SELECT uses FROM known) < %(most)s OR EXISTS (
    SELECT FROM airfleet.dataset_use k WHERE k.dag_id = %(dag)s AND k.task_id = %(task)s
        AND k.namespace = g.namespace AND k.name = g.name AND k.is_output = g.is_output
)
ON CONFLICT (dag_id, task_id, namespace, name, is_output) DO UPDATE SET
    seen_at = greatest(u.seen_at, excluded.seen_at), run_id = excluded.run_id,
    columns = CASE WHEN excluded.columns = '{}' THEN u.columns ELSE excluded.columns END

-- name: keep_columns
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(columns)s::jsonb) AS given (
        namespace text, name text, field text, from_namespace text, from_name text, from_field text, how text
    ) ORDER BY namespace, name, field, from_namespace, from_name, from_field
), known AS (
    SELECT count(*) AS uses FROM airfleet.column_use WHERE dag_id = %(dag)s AND task_id = %(task)s
)
INSERT INTO airfleet.column_use AS u
    (dag_id, task_id, namespace, name, field, from_namespace, from_name, from_field, how, seen_at)
SELECT %(dag)s, %(task)s, g.namespace, g.name, g.field, g.from_namespace, g.from_name, g.from_field, g.how,
    (SELECT arrived_at FROM airfleet.lineage_event WHERE number = %(event)s)
FROM given g
WHERE (SELECT uses FROM known) < %(most)s
ON CONFLICT (dag_id, task_id, namespace, name, field, from_namespace, from_name, from_field) DO UPDATE SET
    how = excluded.how, seen_at = greatest(u.seen_at, excluded.seen_at)

-- name: deliver
INSERT INTO airfleet.lineage_delivery (backend, event)
SELECT backend, event FROM unnest(%(backends)s::text[], %(events)s::bigint[]) AS given (backend, event)
ON CONFLICT (backend, event) DO NOTHING

-- name: read
UPDATE airfleet.lineage_event SET is_read = true WHERE number = ANY(%(events)s)

-- name: waiting
-- An event that was refused comes after the others, so that it does not keep them back.
SELECT d.event, d.failures, e.body, extract(epoch FROM clock_timestamp() - d.since) AS waited_s,
    coalesce(t.start_date, h.start_date) AS started
FROM airfleet.lineage_delivery d
JOIN airfleet.lineage_event e ON e.number = d.event
LEFT JOIN public.task_instance t ON t.id = e.instance
LEFT JOIN public.task_instance_history h ON h.task_instance_id = e.instance
WHERE d.backend = %(backend)s ORDER BY d.failures, d.event LIMIT %(most)s

-- name: settle
DELETE FROM airfleet.lineage_delivery WHERE backend = %(backend)s AND event = ANY(%(events)s)

-- name: refuse
UPDATE airfleet.lineage_delivery SET failures = failures + 1 WHERE backend = %(backend)s AND event = %(event)s

-- name: give_up
DELETE FROM airfleet.lineage_delivery WHERE backend = %(backend)s AND (
    failures >= %(most)s OR since < clock_timestamp() - make_interval(secs => %(oldest_s)s)
)
RETURNING event

-- name: give_up_old
DELETE FROM airfleet.lineage_delivery WHERE since < clock_timestamp() - make_interval(secs => %(oldest_s)s)
RETURNING event

-- name: forget_backends
DELETE FROM airfleet.lineage_delivery WHERE backend <> ALL(%(backends)s)

-- name: prune_events
-- What was read, and waits for no backend, is done with. The rest goes when what it says would go.
DELETE FROM airfleet.lineage_event WHERE number IN (
    SELECT e.number FROM airfleet.lineage_event e
    WHERE e.arrived_at < clock_timestamp() - make_interval(days => least(%(event_days)s, %(days)s)) AND (
        e.arrived_at < clock_timestamp() - make_interval(days => %(days)s)
        OR (e.is_read AND NOT EXISTS (SELECT FROM airfleet.lineage_delivery d WHERE d.event = e.number))
    )
    ORDER BY e.arrived_at LIMIT %(most)s
)

-- name: prune_uses
DELETE FROM airfleet.dataset_use WHERE seen_at < clock_timestamp() - make_interval(days => %(days)s)

-- name: prune_columns
DELETE FROM airfleet.column_use WHERE seen_at < clock_timestamp() - make_interval(days => %(days)s)

-- name: prune_spans
DELETE FROM airfleet.user_span WHERE (file, place) IN (
    SELECT file, place FROM airfleet.user_span WHERE arrived_at < clock_timestamp() - make_interval(days => %(days)s)
    ORDER BY arrived_at LIMIT %(most)s
)

-- name: prune_spools
-- A host that said nothing for so long has removed its files, or is gone.
DELETE FROM airfleet.record_spool WHERE told_at < clock_timestamp() - make_interval(secs => %(oldest_s)s)

-- name: count
INSERT INTO airfleet.record_total (kind, amount) VALUES (%(kind)s, %(amount)s)
ON CONFLICT (kind) DO UPDATE SET amount = record_total.amount + excluded.amount
