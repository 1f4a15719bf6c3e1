-- The statements of usage_reports.py. `%(name)s` is a parameter.

-- name: add
-- A task that was deferred or rescheduled has several processes in one attempt.
INSERT INTO airfleet.task_usage AS u (
    instance, wall_s, cpu_s, memory_kib, limit_kib, read_kib, written_kib, exit_code, kills, parts, is_group
)
SELECT instance, wall_s, cpu_s, memory_kib, limit_kib, read_kib, written_kib, exit_code, kills, parts, is_group
FROM jsonb_populate_recordset(NULL::airfleet.task_usage, %(rows)s::jsonb)
ON CONFLICT (instance) DO UPDATE SET
    ended_at = clock_timestamp(), wall_s = u.wall_s + excluded.wall_s,
    cpu_s = coalesce(u.cpu_s + excluded.cpu_s, u.cpu_s, excluded.cpu_s),
    memory_kib = greatest(u.memory_kib, excluded.memory_kib), limit_kib = excluded.limit_kib,
    read_kib = least(coalesce(u.read_kib::bigint + excluded.read_kib, u.read_kib, excluded.read_kib), %(most)s),
    written_kib = least(
        coalesce(u.written_kib::bigint + excluded.written_kib, u.written_kib, excluded.written_kib), %(most)s
    ),
    exit_code = excluded.exit_code, kills = least(u.kills::int + excluded.kills, %(most_count)s),
    parts = least(u.parts::int + excluded.parts, %(most_count)s), is_group = u.is_group OR excluded.is_group

-- name: prune
-- Each API of tasks removes old rows. None waits for rows that another process is removing.
DELETE FROM airfleet.task_usage WHERE instance IN (
    SELECT instance FROM airfleet.task_usage WHERE ended_at < clock_timestamp() - make_interval(days => %(days)s)
    ORDER BY ended_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
