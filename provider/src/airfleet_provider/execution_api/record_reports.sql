-- The statements of record_reports.py. `%(name)s` is a parameter.

-- name: is_neighbour
-- Whether two attempts were started on the same host, as the API of tasks has written it down; no row if it does not
-- know the sender. That one has ended, so it is in the history if it is to be tried again.
SELECT s.hostname IN (
    SELECT hostname FROM public.task_instance WHERE id = %(instance)s::uuid
    UNION ALL
    SELECT hostname FROM public.task_instance_history WHERE task_instance_id = %(instance)s::uuid
)
FROM (
    SELECT hostname FROM public.task_instance WHERE id = %(sender)s::uuid
    UNION ALL
    SELECT hostname FROM public.task_instance_history WHERE task_instance_id = %(sender)s::uuid
) AS s
WHERE s.hostname <> ''

-- name: add
-- Events and spans of one file: both or none. The key leaves out what is there.
WITH events AS (
    INSERT INTO airfleet.lineage_event (file, place, instance, body)
    SELECT %(file)s::uuid, place, %(instance)s::uuid, body
    FROM jsonb_to_recordset(%(events)s::jsonb) AS given (place int, body text)
    ON CONFLICT (file, place) DO NOTHING
), spans AS (
    INSERT INTO airfleet.user_span (file, place, instance, number, parent, name, error, began_at, took_s, attributes)
    SELECT %(file)s::uuid, place, %(instance)s::uuid, number, parent, name, error, to_timestamp(began), took, attributes
    FROM jsonb_to_recordset(%(spans)s::jsonb) AS given (
        place int, number int, parent int, name text, error text, began double precision, took real, attributes jsonb
    )
    WHERE (SELECT count(*) FROM airfleet.user_span WHERE instance = %(instance)s::uuid) < %(most)s
    ON CONFLICT (file, place) DO NOTHING
)
INSERT INTO airfleet.record_total (kind, amount) SELECT 'cut', %(cut)s WHERE %(cut)s > 0
ON CONFLICT (kind) DO UPDATE SET amount = record_total.amount + excluded.amount
