-- The statements of catalogue.py. `%(name)s` is a parameter.

-- name: list_batches
SELECT batch FROM airfleet.archived_batch

-- name: add_batch
INSERT INTO airfleet.archived_batch (batch, dag_id, month, created_at, runs, task_instances, bytes, first_after, last_after, listed)
VALUES (%(batch)s, %(dag_id)s, %(month)s, %(created_at)s, %(runs)s, %(task_instances)s, %(bytes)s, %(first_after)s,
    %(last_after)s, %(listed)s::jsonb)
ON CONFLICT (batch) DO NOTHING

-- name: remove_batches
DELETE FROM airfleet.archived_batch WHERE batch = ANY(%(batches)s::text[])
