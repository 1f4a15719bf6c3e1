-- The statements of counters.py. `%(name)s` is a parameter.

-- name: read
SELECT name, labels, amounts FROM airfleet.metric_counter

-- name: write
INSERT INTO airfleet.metric_counter AS kept (name, labels, amounts)
SELECT name, labels, amounts FROM jsonb_to_recordset(%(rows)s) AS row (name text, labels text[], amounts float8[])
ON CONFLICT (name, labels) DO UPDATE SET amounts = excluded.amounts

-- name: forget
DELETE FROM airfleet.metric_counter
WHERE (name, labels) IN (
    SELECT name, labels FROM jsonb_to_recordset(%(rows)s) AS row (name text, labels text[])
)

-- name: read_positions
SELECT name, position FROM airfleet.metric_reader

-- name: write_positions
INSERT INTO airfleet.metric_reader AS kept (name, position)
SELECT name, position FROM jsonb_to_recordset(%(rows)s) AS row (name text, position jsonb)
ON CONFLICT (name) DO UPDATE SET position = excluded.position
WHERE kept.position IS DISTINCT FROM excluded.position
