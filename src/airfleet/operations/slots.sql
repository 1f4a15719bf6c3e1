-- The statements of slots.py. `%(name)s` is a parameter.

-- name: list_decisions
SELECT pool, decided_at, inputs, wanted, slots, reason FROM airfleet.slot_decision
WHERE %(pool)s::text IS NULL OR pool = %(pool)s ORDER BY id DESC LIMIT %(limit)s

-- name: list_past
SELECT extract(epoch FROM coalesce(scheduled_dttm, queued_dttm, start_date))::float8 AS ready_at,
    extract(epoch FROM end_date - start_date)::float8 AS ran_s
FROM task_instance
WHERE state IN ('success', 'failed') AND start_date IS NOT NULL AND end_date >= start_date
    AND start_date > clock_timestamp() - make_interval(secs => %(seconds)s) AND queue = ANY(%(queues)s)
