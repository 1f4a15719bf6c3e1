-- The statements of parse_cache.py. `%(name)s` is a parameter.

-- name: read_summaries
-- Everything except the serialised Dags, which are large and seldom needed.
SELECT key, result - 'dags' || jsonb_build_object('dags', COALESCE((
    SELECT jsonb_object_agg(d.key, jsonb_build_object(
        'hash', d.value -> 'hash', 'rewritten', d.value -> 'data' -> 'dag' ->> 'deadline' IS NOT NULL))
    FROM jsonb_each(result -> 'dags') d), '{}')) AS summary
FROM airfleet.parsed WHERE key = ANY(%(keys)s::text[])

-- name: read_raw
SELECT key, result FROM airfleet.parsed WHERE key = ANY(%(keys)s::text[])

-- name: read_data
SELECT w.n, p.result -> 'dags' -> w.dag_id -> 'data' AS data
FROM unnest(%(keys)s::text[], %(dags)s::text[]) WITH ORDINALITY AS w(key, dag_id, n)
JOIN airfleet.parsed p ON p.key = w.key ORDER BY w.n

-- name: store_result
INSERT INTO airfleet.parsed AS p (key, result)
SELECT n.key, n.result::jsonb FROM unnest(%(keys)s::text[], %(results)s::text[]) AS n(key, result)
ON CONFLICT (key) DO UPDATE SET created_at = now(), result = CASE
    WHEN %(twice)s::boolean AND p.result ->> 'error' IS NULL THEN p.result || jsonb_build_object(
        'unstable', excluded.result -> 'unstable', 'is_compared', excluded.result -> 'is_compared')
    ELSE excluded.result END

-- name: store_reads
-- A Dag file may read other files in each parse: the keys of a JSON object are the sets of files that it has read.
INSERT INTO airfleet.parsed AS p (key, result)
SELECT n.key, jsonb_build_object('reads', jsonb_build_object(n.reads, true))
FROM unnest(%(keys)s::text[], %(reads)s::text[]) AS n(key, reads)
ON CONFLICT (key) DO UPDATE
SET result = jsonb_build_object('reads', (p.result -> 'reads') || (excluded.result -> 'reads'))
