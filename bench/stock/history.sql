-- The statements of history.py. `%(name)s` is a parameter.

-- name: plan
-- The measured Dags keep their rows. The table `old` has the number of runs of each Dag, and `task` the tasks of a run.
CREATE TEMP TABLE task AS
    SELECT s.dag_id, coalesce(t->'__var'->>'task_id', t->>'task_id') AS task_id
    FROM (SELECT DISTINCT ON (dag_id) dag_id, data::jsonb AS data FROM serialized_dag
          ORDER BY dag_id, last_updated DESC) s,
         jsonb_array_elements(s.data->'dag'->'tasks') t;
INSERT INTO dag
    SELECT (jsonb_populate_record(d, jsonb_build_object('dag_id', 'old_' || n, 'is_paused', true, 'is_stale', true))).*
    FROM dag d, generate_series((SELECT count(DISTINCT dag_id) FROM task) + 1, %(dags)s) n
    WHERE d.dag_id = (SELECT min(dag_id) FROM task);
INSERT INTO dag_version (id, version_number, dag_id, bundle_name, bundle_version, created_at, last_updated)
    SELECT uuidv7(), 1, dag_id, bundle_name, bundle_version, now(), now() FROM dag
    WHERE dag_id LIKE 'old!_%%' ESCAPE '!';
INSERT INTO task SELECT dag_id, 'step_' || n FROM dag, generate_series(0, 9) n WHERE dag_id LIKE 'old!_%%' ESCAPE '!';
CREATE TEMP TABLE old AS
    SELECT dag_id, count(*) AS tasks, greatest(1, round(%(instances)s::numeric / %(dags)s / count(*)))::int AS runs,
           (SELECT v.id FROM dag_version v WHERE v.dag_id = task.dag_id ORDER BY version_number DESC LIMIT 1) AS version
    FROM task GROUP BY dag_id;

-- name: runs
INSERT INTO dag_run (dag_id, run_id, state, run_type, queued_at, logical_date, start_date, end_date, run_after,
                     data_interval_start, data_interval_end, last_scheduling_decision, created_at, updated_at,
                     log_template_id, clear_number, span_status, created_dag_version_id, conf)
    SELECT old.dag_id, 'scheduled__' || n, 'success', 'scheduled', day, day, day, day + interval '2 min', day,
           day, day, day + interval '2 min', day, day + interval '2 min',
           (SELECT max(id) FROM log_template), 0, 'ended', old.version, '{}'
    FROM old, generate_series(1, old.runs) n, LATERAL (SELECT now() - interval '60 days' / old.runs * n AS day)

-- name: instances
INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, start_date, end_date, duration, state, try_number,
                           max_tries, hostname, unixname, pool, pool_slots, queue, priority_weight, operator,
                           custom_operator_name, queued_dttm, scheduled_dttm, updated_at, executor_config, span_status,
                           task_display_name, dag_version_id, external_executor_id)
    SELECT uuidv7(), task.task_id, old.dag_id, 'scheduled__' || n, -1, day, day + interval '1 s', 1, 'success', 1,
           0, '127.0.0.1', 'airflow', 'default_pool', 1, 'default', 1, '_PythonDecoratedOperator',
           '@task', day, day, day, '\x80047d942e', 'ended', task.task_id, old.version, gen_random_uuid()::text
    FROM old JOIN task USING (dag_id), generate_series(1, old.runs) n,
         LATERAL (SELECT now() - interval '60 days' / old.runs * n AS day)

-- name: vacuums
SELECT pid FROM pg_stat_progress_vacuum UNION SELECT pid FROM pg_stat_progress_analyze

-- name: uncounted
-- The newest run, if airfleet's exporter has not reached it.
SELECT max(id) FROM dag_run HAVING max(id) > (
    SELECT coalesce(position #>> '{run,seen,-1,1}', position #>> '{run,low}')::bigint
    FROM airfleet.metric_reader WHERE name = 'events'
)
