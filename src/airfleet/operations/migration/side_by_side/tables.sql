-- name: is_table
SELECT 1
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname = %s AND c.relname = %s

-- name: columns
SELECT a.attname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attname

-- `format` writes a row by the output functions of its types, and looks up no cast that somebody has made.
-- name: digest
SELECT count(*), coalesce(sum(('x' || left(md5(format('%s', ROW({columns}))), 16))::bit(64)::bigint), 0)
FROM {table}
