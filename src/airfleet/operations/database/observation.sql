-- The statements of observation.py.

-- name: look
-- What a server is, its timeline, how many bytes of WAL it has, and whether it receives more.
SELECT CASE WHEN pg_is_in_recovery() THEN 'replica' ELSE 'primary' END,
    -- The control file tells of a promotion only from the next checkpoint on.
    CASE WHEN pg_is_in_recovery() THEN greatest((SELECT received_tli FROM pg_stat_wal_receiver),
            (SELECT timeline_id FROM pg_control_checkpoint()),
            (SELECT min_recovery_end_timeline FROM pg_control_recovery()))
        ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
    (CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
        ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::bigint,
    coalesce((SELECT status FROM pg_stat_wal_receiver), '')
