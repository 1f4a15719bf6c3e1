-- The statements of the audit log. `%(name)s` is a parameter.

-- name: record
-- The trigger gives the row its number and hashes. An entry that is there already is not recorded again.
INSERT INTO airfleet.audit (id, entry) VALUES (%(id)s::uuid, %(entry)s)

-- name: begin
INSERT INTO airfleet.audit_intent (id, entry) VALUES (%(id)s::uuid, %(entry)s) ON CONFLICT DO NOTHING

-- name: withdraw
DELETE FROM airfleet.audit_intent WHERE id = %(id)s::uuid

-- name: settle
WITH ended AS (DELETE FROM airfleet.audit_intent WHERE id = %(id)s::uuid)
INSERT INTO airfleet.audit (id, entry) VALUES (%(id)s::uuid, %(entry)s)

-- name: expire
-- Both moments are the database's. The id is another one: if the request ends after all, its outcome gets a row, too.
WITH gone AS (
    DELETE FROM airfleet.audit_intent
    WHERE begun_at < clock_timestamp() - make_interval(secs => %(seconds)s) RETURNING id, entry
)
INSERT INTO airfleet.audit (id, entry)
SELECT md5('unknown ' || id)::uuid, (entry::jsonb || '{"outcome": "unknown"}')::text FROM gone

-- name: head
SELECT number, hash, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at
FROM airfleet.audit_head

-- name: list
SELECT number, recorded_at, id::text, entry, previous, hash FROM airfleet.audit
WHERE (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s)
    AND (%(actor)s::text IS NULL OR entry::jsonb ->> 'actor' = %(actor)s)
    AND (%(source)s::text IS NULL OR entry::jsonb ->> 'source' = %(source)s)
    AND (%(outcome)s::text IS NULL OR entry::jsonb ->> 'outcome' = %(outcome)s)
    AND (%(text)s::text IS NULL OR strpos(lower(entry), lower(%(text)s)) > 0)
ORDER BY number DESC LIMIT %(limit)s

-- name: all
SELECT number, recorded_at, id::text, entry, previous, hash FROM airfleet.audit
WHERE (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s) ORDER BY number

-- name: allow_cut
SELECT set_config('airfleet.audit_cut', %(number)s::text, true)

-- name: cut
DELETE FROM airfleet.audit WHERE number <= %(number)s
