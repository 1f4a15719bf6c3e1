-- Why: what each attempt of a task used, for limits that fit and for run times to expect (ADR 72). A row has no names:
-- `instance` is the id of the task instance, which is another one for each attempt. No foreign key: its check would lock
-- the row of the run, and the scheduler leaves out runs that are locked.
CREATE TABLE airfleet.task_usage (
    instance uuid PRIMARY KEY,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    wall_s real NOT NULL,
    cpu_s real,
    memory_kib int,
    limit_kib int,
    read_kib int,
    written_kib int,
    exit_code smallint,
    kills smallint NOT NULL DEFAULT 0,
    parts smallint NOT NULL DEFAULT 1,
    is_group boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE airfleet.task_usage IS 'what the processes of each attempt used, as its supervisor measured it';
COMMENT ON COLUMN airfleet.task_usage.memory_kib IS 'the peak: of the cgroup with is_group, else of the largest process';
COMMENT ON COLUMN airfleet.task_usage.limit_kib IS 'the limit on memory of this task alone; null if it had none';
COMMENT ON COLUMN airfleet.task_usage.kills IS 'processes of the task that the kernel killed for want of memory';
COMMENT ON COLUMN airfleet.task_usage.parts IS 'processes, one after the other: more than one if it was deferred or rescheduled';
CREATE INDEX task_usage_ended ON airfleet.task_usage (ended_at);
