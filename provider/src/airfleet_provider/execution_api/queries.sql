-- The most frequent calls of tasks, each as one round trip that checks all conditions before it changes a row.
--
-- A statement that returns no row has changed nothing. Airflow's own code then answers the call, so every refusal comes
-- from Airflow.
--
-- `%(name)s` is a parameter.
--
-- A condition on the state of one task instance is `(…) IS TRUE`, which no index can answer. ANALYZE finds no row or few
-- that are `running` or `queued`. So the planner would read all entries of these states in the index `ti_state`, also
-- those of tasks that have left the state and that an open transaction may still see.

-- name: start
WITH ti AS (
    SELECT t.id, t.state, t.dag_id, t.run_id, t.task_id, t.map_index, t.try_number, t.max_tries, d.owners,
        r.logical_date, r.data_interval_start, r.data_interval_end, r.run_after, r.start_date, r.end_date,
        r.clear_number, r.run_type, r.state AS run_state, r.conf, r.triggering_user_name, r.partition_key,
        r.partition_date
    FROM task_instance t
    JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id
    JOIN dag d ON d.dag_id = t.dag_id
    WHERE t.id = %(id)s AND (t.state IN ('queued', 'restarting')) IS TRUE
        AND t.next_method IS NULL AND (t.next_kwargs IS NULL OR t.next_kwargs = 'null')
        AND NOT EXISTS (SELECT FROM dagrun_asset_event e WHERE e.dag_run_id = r.id)
    FOR UPDATE OF t
), started AS (
    UPDATE task_instance t
    SET state = 'running', start_date = %(start_date)s, end_date = NULL, hostname = %(hostname)s,
        unixname = %(unixname)s, pid = %(pid)s, last_heartbeat_at = %(now)s, updated_at = %(now)s,
        retry_delay_override = NULL, retry_reason = NULL
    FROM ti WHERE t.id = ti.id
), audit AS (
    INSERT INTO log (dttm, event, dag_id, task_id, run_id, map_index, try_number, logical_date, owner, extra)
    SELECT %(now)s, 'running', dag_id, task_id, run_id, map_index, try_number, logical_date, owners, %(extra)s FROM ti
)
SELECT dag_id, run_id, logical_date, data_interval_start, data_interval_end, run_after, start_date, end_date,
    clear_number, run_type, run_state AS state, conf, triggering_user_name, partition_key, partition_date,
    state AS previous_state, try_number, max_tries,
    (SELECT count(*) FROM task_reschedule s WHERE s.ti_id = ti.id) AS reschedules,
    ARRAY(
        SELECT x.key FROM xcom x WHERE x.dag_id = ti.dag_id AND x.task_id = ti.task_id AND x.run_id = ti.run_id
            AND (ti.map_index < 0 OR x.map_index = ti.map_index)
    ) AS xcom_keys
FROM ti

-- name: succeed
-- With `fields`, it also does what show_fields does.
WITH ti AS (
    SELECT t.id, t.dag_id, t.run_id, t.task_id, t.map_index, t.try_number, t.hostname, r.logical_date, d.owners
    FROM task_instance t
    JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id
    JOIN dag d ON d.dag_id = t.dag_id
    WHERE t.id = %(id)s AND (t.state = 'running') IS TRUE
    FOR UPDATE OF t
), ended AS (
    UPDATE task_instance t
    SET state = 'success', end_date = %(end_date)s, duration = extract(epoch FROM %(end_date)s - t.start_date),
        next_method = NULL, next_kwargs = 'null', updated_at = %(now)s,
        rendered_map_index = CASE WHEN %(has_label)s THEN %(label)s ELSE t.rendered_map_index END
    FROM ti WHERE t.id = ti.id
), audit AS (
    INSERT INTO log (dttm, event, dag_id, task_id, run_id, map_index, try_number, logical_date, owner, extra)
    SELECT %(now)s, 'success', dag_id, task_id, run_id, map_index, try_number, logical_date, owners,
        '{"host_name": ' || to_json(nullif(hostname, ''))::text || '}'
    FROM ti
), kept AS (
    SELECT run_id FROM dag_run
    WHERE %(fields)s::json IS NOT NULL AND dag_id = (SELECT dag_id FROM ti) ORDER BY run_after DESC LIMIT %(kept)s
), shown AS (
    INSERT INTO rendered_task_instance_fields (dag_id, task_id, run_id, map_index, rendered_fields, k8s_pod_yaml)
    SELECT dag_id, task_id, run_id, map_index, %(fields)s::json, 'null' FROM ti
    WHERE %(fields)s::json IS NOT NULL AND (%(kept)s = 0 OR run_id IN (SELECT run_id FROM kept))
    ON CONFLICT (dag_id, task_id, run_id, map_index)
    DO UPDATE SET rendered_fields = excluded.rendered_fields, k8s_pod_yaml = excluded.k8s_pod_yaml
), dropped AS (
    DELETE FROM rendered_task_instance_fields f USING ti
    WHERE %(fields)s::json IS NOT NULL AND %(kept)s > 0 AND f.dag_id = ti.dag_id AND f.task_id = ti.task_id
        AND f.run_id NOT IN (SELECT run_id FROM kept)
)
SELECT id FROM ti

-- name: heartbeat
UPDATE task_instance SET last_heartbeat_at = %(now)s, updated_at = %(now)s
WHERE id = %(id)s AND (state = 'running') IS TRUE AND hostname = %(hostname)s AND pid = %(pid)s
RETURNING id

-- name: show_fields
-- A run that is older than those that are kept shows none, and what it showed before is deleted with the others.
-- The scalar subquery lets the planner read the runs of one Dag in the order of the index `airfleet_run_order`.
WITH ti AS (
    SELECT id, dag_id, task_id, run_id, map_index FROM task_instance WHERE id = %(id)s
), kept AS (
    SELECT run_id FROM dag_run WHERE dag_id = (SELECT dag_id FROM ti) ORDER BY run_after DESC LIMIT %(kept)s
), shown AS (
    INSERT INTO rendered_task_instance_fields (dag_id, task_id, run_id, map_index, rendered_fields, k8s_pod_yaml)
    SELECT dag_id, task_id, run_id, map_index, %(fields)s::json, 'null' FROM ti
    WHERE %(kept)s = 0 OR run_id IN (SELECT run_id FROM kept)
    ON CONFLICT (dag_id, task_id, run_id, map_index)
    DO UPDATE SET rendered_fields = excluded.rendered_fields, k8s_pod_yaml = excluded.k8s_pod_yaml
), dropped AS (
    DELETE FROM rendered_task_instance_fields f USING ti
    WHERE %(kept)s > 0 AND f.dag_id = ti.dag_id AND f.task_id = ti.task_id
        AND f.run_id NOT IN (SELECT run_id FROM kept)
)
SELECT id FROM ti

-- name: pull
SELECT coalesce(x.value, 'null')::text AS value FROM xcom x JOIN dag_run r ON r.id = x.dag_run_id
WHERE x.dag_id = %(dag_id)s AND x.task_id = %(task_id)s AND x.run_id = %(run_id)s AND x.map_index = %(map_index)s
    AND x.key = %(key)s

-- name: push
INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, dag_result, timestamp)
SELECT id, dag_id, run_id, %(task_id)s, %(map_index)s, %(key)s, %(value)s::jsonb, %(dag_result)s, %(now)s
FROM dag_run WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE
SET value = excluded.value, dag_result = excluded.dag_result, timestamp = excluded.timestamp
RETURNING key
