-- Why: the results of tasks as they were before migrations had numbers. Where an earlier airfleet has made the table,
-- this changes nothing. The first result of a task counts: a message that is delivered again changes nothing.
CREATE TABLE IF NOT EXISTS airfleet.task_result (
    task_id text PRIMARY KEY CHECK (length(task_id) <= 155),
    status text NOT NULL CHECK (status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REFUSED')),
    ended_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS task_result_ended_at ON airfleet.task_result (ended_at);
