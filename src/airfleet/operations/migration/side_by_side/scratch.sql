-- name: tasks
SELECT t.task_id, t.map_index, t.state
FROM public.task_instance t JOIN public.dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id
WHERE r.dag_id = %s AND r.logical_date = %s

-- name: xcoms
SELECT x.task_id, x.map_index, x.key, x.value::text
FROM public.xcom x JOIN public.dag_run r ON r.dag_id = x.dag_id AND r.run_id = x.run_id
WHERE r.dag_id = %s AND r.logical_date = %s
