-- The statement of attempts.py. `%(name)s` is a parameter.

-- name: known
-- A row for each try whose run is there, by the indexes of Dag, task and run; without an id if the run has no such try.
SELECT w.dag, w.task, w.run, w.map_index, w.number, coalesce(t.id, h.task_instance_id)::text,
    CASE WHEN t.id IS NOT NULL THEN t.state ELSE coalesce(h.state, 'failed') END, coalesce(t.end_date, h.end_date)
FROM unnest(%(dags)s::text[], %(tasks)s::text[], %(runs)s::text[], %(indexes)s::int[], %(numbers)s::int[])
    AS w (dag, task, run, map_index, number)
JOIN dag_run r ON r.dag_id = w.dag AND r.run_id = w.run
LEFT JOIN task_instance t ON t.dag_id = w.dag AND t.task_id = w.task AND t.run_id = w.run
    AND t.map_index = w.map_index AND t.try_number = w.number
LEFT JOIN task_instance_history h ON t.id IS NULL AND h.dag_id = w.dag AND h.task_id = w.task AND h.run_id = w.run
    AND h.map_index = w.map_index AND h.try_number = w.number
