-- The statements of slots.py. `%(name)s` is a parameter.

-- name: list_decisions
SELECT pool, decided_at, inputs, wanted, slots, reason FROM airfleet.slot_decision
WHERE %(pool)s::text IS NULL OR pool = %(pool)s ORDER BY id DESC LIMIT %(limit)s

-- name: find_most_wanted
-- The decision that held when the time began counts too.
SELECT coalesce(max(wanted), 0)::int AS wanted FROM airfleet.slot_decision
WHERE pool = %(pool)s AND id >= coalesce((
    SELECT max(id) FROM airfleet.slot_decision
    WHERE pool = %(pool)s AND decided_at <= clock_timestamp() - make_interval(secs => %(seconds)s)
), 0)

-- name: find_last_confirmation
SELECT clock_timestamp() AS now, extract(epoch FROM clock_timestamp() - max(decided_at))::float8 AS age_s
FROM airfleet.worker_slots WHERE pool = %(pool)s

-- name: list_inputs_since
-- The newest first. The decision that held when the time began counts too.
SELECT inputs FROM airfleet.slot_decision
WHERE pool = %(pool)s AND id >= coalesce((
    SELECT max(id) FROM airfleet.slot_decision
    WHERE pool = %(pool)s AND decided_at <= clock_timestamp() - make_interval(secs => %(seconds)s)
), 0) ORDER BY id DESC

-- name: list_past
SELECT extract(epoch FROM coalesce(t.scheduled_dttm, t.queued_dttm, t.start_date))::float8 AS ready_at,
    extract(epoch FROM t.end_date - t.start_date)::float8 AS ran_s,
    CASE WHEN r.run_type = 'scheduled' THEN t.dag_id END AS cron_of
FROM task_instance t LEFT JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id
WHERE t.state IN ('success', 'failed') AND t.start_date IS NOT NULL AND t.end_date >= t.start_date
    AND t.start_date > clock_timestamp() - make_interval(secs => %(seconds)s) AND t.queue = ANY(%(queues)s)
