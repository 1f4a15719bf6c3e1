-- The statements of database.py. `%(name)s` is a parameter.

-- name: server
SELECT pg_database_size(current_database())::float8 AS size,
    current_setting('max_connections')::float8 AS max_connections,
    (SELECT max(age(datfrozenxid)) FROM pg_database)::float8 AS xid_age

-- name: sessions
SELECT coalesce(state, 'hidden') AS state, count(*) AS sessions,
    count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting,
    max(extract(epoch FROM clock_timestamp() - xact_start))::float8 AS oldest_s
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1

-- name: tables
SELECT s.relname AS name, pg_total_relation_size(s.relid)::float8 AS size,
    greatest(c.reltuples, s.n_live_tup, 0)::float8 AS rows, coalesce(s.n_dead_tup, 0)::float8 AS dead
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE s.schemaname = 'public' AND s.relname = ANY(%(names)s)

-- name: standbys
-- A role without pg_read_all_stats sees that there is a standby, and nothing of it.
SELECT coalesce(nullif(application_name, 'walreceiver'), host(client_addr), 'standby') AS name,
    pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 AS bytes,
    extract(epoch FROM replay_lag)::float8 AS seconds
FROM pg_stat_replication WHERE replay_lsn IS NOT NULL

-- name: archiver
SELECT extract(epoch FROM last_archived_time)::float8 AS archived,
    coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS is_failing
FROM pg_stat_archiver

-- name: jobs
SELECT name, fingerprint, extract(epoch FROM ended_at)::float8 AS ended FROM airfleet.job WHERE name = ANY(%(names)s)
