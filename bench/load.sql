-- The statements of load.py. `%(name)s` is a parameter.

-- name: list_dags
SELECT count(*) FROM dag WHERE dag_id LIKE 'load!_%%' ESCAPE '!' AND NOT is_stale

-- name: unpause
-- The yearly run that is due at first is of no interest: the next moment is far away.
UPDATE dag SET is_paused = false, next_dagrun_create_after = now() + interval '1 year'
WHERE dag_id LIKE 'load!_%%' ESCAPE '!' RETURNING dag_id

-- name: come_due
-- The scheduler makes the runs itself, as if the crons of these Dags were due now.
UPDATE dag SET next_dagrun = clock_timestamp(), next_dagrun_data_interval_start = clock_timestamp(),
    next_dagrun_data_interval_end = clock_timestamp(), next_dagrun_create_after = clock_timestamp()
WHERE dag_id = ANY(%(dags)s) RETURNING dag_id

-- name: count_runs
SELECT count(*), count(*) FILTER (WHERE state IN ('success', 'failed')) FROM dag_run
WHERE dag_id LIKE 'load!_%%' ESCAPE '!' AND logical_date >= to_timestamp(%(began)s)

-- name: count_late
SELECT count(*) FROM task_instance t JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id
WHERE r.dag_id LIKE 'load!_%%' ESCAPE '!' AND r.logical_date >= to_timestamp(%(began)s)
    AND coalesce(t.start_date, clock_timestamp()) - t.scheduled_dttm > make_interval(secs => %(limit_s)s)

-- name: abandon
-- What a step has left must not disturb the next one.
WITH ended AS (
    UPDATE dag_run SET state = 'failed', end_date = clock_timestamp()
    WHERE dag_id LIKE 'load!_%%' ESCAPE '!' AND state IN ('queued', 'running') RETURNING dag_id, run_id
)
UPDATE task_instance t SET state = 'failed', end_date = clock_timestamp() FROM ended
WHERE t.dag_id = ended.dag_id AND t.run_id = ended.run_id AND (t.state IS NULL OR t.state <> 'success') RETURNING t.id

-- name: measure
SELECT count(t.end_date), count(*) FILTER (WHERE t.state IN ('failed', 'upstream_failed')) AS failed,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM t.start_date - t.scheduled_dttm))::float8 AS p50,
    percentile_disc(0.99) WITHIN GROUP (
        ORDER BY extract(epoch FROM coalesce(t.start_date, clock_timestamp()) - t.scheduled_dttm)
    )::float8 AS p99,
    percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM r.queued_at - r.logical_date))::float8 AS late,
    sum(extract(epoch FROM t.end_date - t.start_date))::float8 AS busy_s,
    extract(epoch FROM max(t.end_date))::float8 AS ended
FROM task_instance t JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id
WHERE r.dag_id LIKE 'load!_%%' ESCAPE '!' AND r.logical_date >= to_timestamp(%(began)s)
