-- The statements of facts.py.

-- name: tables
SELECT c.relname, coalesce(c.reloptions, '{}'), greatest(c.reltuples, 0)::bigint, s.n_dead_tup, s.n_mod_since_analyze,
    s.last_analyze IS NOT NULL OR s.last_autoanalyze IS NOT NULL, s.n_tup_upd, s.n_tup_hot_upd,
    pg_total_relation_size(c.oid), pg_indexes_size(c.oid), s.n_live_tup
FROM pg_class c JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname

-- name: unindexed
-- Foreign keys whose columns are not the first columns of any whole index of the child: a deletion of a parent's row
-- then reads the whole child.
SELECT c.relname, array_agg(a.attname::text ORDER BY k.n), parent.relname
FROM pg_constraint con
JOIN pg_class c ON c.oid = con.conrelid
JOIN pg_class parent ON parent.oid = con.confrelid
CROSS JOIN unnest(con.conkey) WITH ORDINALITY AS k (num, n)
JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.num
WHERE con.contype = 'f' AND c.relnamespace = 'public'::regnamespace AND NOT EXISTS (
    SELECT FROM pg_index i WHERE i.indrelid = con.conrelid AND i.indpred IS NULL AND i.indisvalid
        AND (i.indkey::int2[])[0:cardinality(con.conkey) - 1] @> con.conkey
)
GROUP BY con.oid, c.relname, parent.relname ORDER BY 1, 2

-- name: indexes
-- Widths come from ANALYZE. An entry has a header of 8 bytes and a pointer of 4, and is aligned to 8; leaves are filled
-- to 90 %. PostgreSQL stores equal keys once, so a healthy index may also be smaller than this.
SELECT i.relname, t.relname, pg_relation_size(i.oid), x.indisvalid, pg_get_indexdef(i.oid),
    (greatest(i.reltuples, 0) * (12 + 8 * ceil(coalesce(w.width, 8) / 8.0)) / 0.9)::bigint, x.indisunique
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'
JOIN pg_class t ON t.oid = x.indrelid
LEFT JOIN LATERAL (
    SELECT sum(p.avg_width) AS width FROM pg_attribute a JOIN pg_stats p
        ON p.schemaname = 'public' AND p.tablename = t.relname AND p.attname = a.attname
    WHERE a.attrelid = t.oid AND a.attnum = ANY(x.indkey::int2[])
) w ON true
WHERE t.relnamespace = 'public'::regnamespace ORDER BY i.relname

-- name: sessions
SELECT pid, coalesce(application_name, ''), coalesce(state, ''),
    extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity
WHERE xact_start < clock_timestamp() - interval '5 minutes' AND backend_type = 'client backend'
    AND pid <> pg_backend_pid() ORDER BY 4 DESC

-- name: limits
SELECT (SELECT max(age(datfrozenxid)) FROM pg_database), current_setting('autovacuum_freeze_max_age')::bigint,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    current_setting('max_connections')::int, current_setting('autovacuum')::bool
