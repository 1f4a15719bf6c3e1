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
-- Events and spans of one file: both or none. The key leaves out what is there. `room` is how many more events of this
-- attempt are kept.
WITH room AS (
    SELECT CASE
        WHEN coalesce(sum(octet_length(body)), 0) < %(most_bytes)s THEN greatest(%(most_events)s - count(*), 0) ELSE 0
    END AS events
    FROM airfleet.lineage_event WHERE instance = %(instance)s::uuid
), events AS (
    INSERT INTO airfleet.lineage_event (file, place, instance, body)
    SELECT %(file)s::uuid, place, %(instance)s::uuid, body
    FROM jsonb_to_recordset(%(events)s::jsonb) AS given (place int, body text)
    ORDER BY place LIMIT (SELECT events FROM room)
    ON CONFLICT (file, place) DO NOTHING
), spans AS (
    INSERT INTO airfleet.user_span (file, place, instance, number, parent, name, error, began_at, took_s, attributes)
    SELECT %(file)s::uuid, place, %(instance)s::uuid, number, parent, name, error, to_timestamp(began), took, attributes
    FROM jsonb_to_recordset(%(spans)s::jsonb) AS given (
        place int, number int, parent int, name text, error text, began double precision, took real, attributes jsonb
    )
    WHERE (SELECT count(*) FROM airfleet.user_span WHERE instance = %(instance)s::uuid) < %(most_spans)s
    ON CONFLICT (file, place) DO NOTHING
), spool AS (
    INSERT INTO airfleet.record_spool AS s (host, files, oldest_s)
    SELECT own.hostname, %(spool_files)s::int, %(spool_oldest_s)s::int
    FROM (
        SELECT hostname FROM public.task_instance WHERE id = %(sender)s::uuid
        UNION
        SELECT hostname FROM public.task_instance_history WHERE task_instance_id = %(sender)s::uuid
    ) AS own
    WHERE own.hostname <> '' AND %(spool_files)s::int IS NOT NULL
    LIMIT 1
    ON CONFLICT (host) DO UPDATE SET
        files = excluded.files, oldest_s = excluded.oldest_s, told_at = clock_timestamp()
), cut AS (
    SELECT %(cut)s + (jsonb_array_length(%(events)s::jsonb) > (SELECT events FROM room))::int AS amount
)
INSERT INTO airfleet.record_total (kind, amount) SELECT 'cut', amount FROM cut WHERE amount > 0
ON CONFLICT (kind) DO UPDATE SET amount = record_total.amount + excluded.amount
