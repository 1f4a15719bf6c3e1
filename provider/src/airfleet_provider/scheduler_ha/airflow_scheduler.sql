-- The statements of airflow_scheduler.py. `%(name)s` is a parameter.

-- name: read_epoch
SELECT epoch FROM airfleet.lease WHERE name = %s

-- name: beat
SELECT coalesce(string_agg(id || ' ' || latest_heartbeat, ',' ORDER BY id), '') AS beat FROM job
WHERE job_type = 'SchedulerJob' AND state = 'running'

-- name: retire
-- With these jobs failed, the new scheduler adopts their tasks in its first loop, without waiting for old heartbeats.
UPDATE job SET state = 'failed', end_date = clock_timestamp() WHERE job_type = 'SchedulerJob' AND state = 'running'

-- name: requeue
-- The old scheduler may never have sent a task that it queued shortly before its last heartbeat, or later. That is so
-- even if it ended in order, at a restart of its service: it stops between queueing and sending. If it could not send a
-- task before, because the broker was away, it marked the id of the message. A task that a later scheduler adopted names
-- the job of that scheduler. Without the id of a message, the new scheduler does not adopt the task but queues it again,
-- and the task loses no retry. If a worker has the old message after all, its start is refused, because that task
-- instance does not exist any more.
UPDATE task_instance SET external_executor_id = NULL, max_tries = max_tries + 1
FROM job
WHERE job.id = queued_by_job_id AND job.job_type = 'SchedulerJob' AND task_instance.state = 'queued' AND (
    queued_dttm > job.latest_heartbeat - make_interval(secs => %(recent)s)
    OR starts_with(external_executor_id, %(unsent)s)
)

-- name: restore
-- The old scheduler ended between sending a task and removing its mark, and a worker has started the task.
UPDATE task_instance SET external_executor_id = substr(external_executor_id, length(%(unsent)s) + 1)
WHERE state IN ('running', 'restarting') AND starts_with(external_executor_id, %(unsent)s)
