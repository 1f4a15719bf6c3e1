-- The statements of readings.py. `%(name)s` is a parameter.

-- name: now
SELECT clock_timestamp() AS now

-- name: bundle
-- A platform has one bundle whose Dags are releases. If there were several, the last one that was used is shown.
SELECT bundle FROM airfleet.deployment ORDER BY id DESC LIMIT 1

-- name: jobs
SELECT name, ended_at FROM airfleet.job WHERE name = ANY(%(names)s)

-- name: database
-- The oldest run is found in an index. A server of somebody else's may hide that it archives.
SELECT pg_database_size(current_database()) AS size, (SELECT min(run_after) FROM dag_run) AS oldest_run,
    current_setting('archive_mode', true) IN ('on', 'always') AS archives_wal, last_archived_time AS wal_archived_at,
    coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS is_wal_failing
FROM pg_stat_archiver
