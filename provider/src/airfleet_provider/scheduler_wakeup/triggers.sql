-- The triggers by which the metadata database notifies the scheduler. The function's comment is `triggers.REVISION`, which
-- changes whenever these statements do.

-- name: read_revision
SELECT obj_description(p.oid, 'pg_proc') FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'airfleet' AND p.proname = 'wake_scheduler'

-- name: create
-- A notification of a changed task names its Dag run; one without a name concerns everything else. Several processes may
-- run this SQL at once. PostgreSQL merges equal notifications of a transaction. When the scheduler itself queues a task,
-- the triggers send nothing.
BEGIN;
SELECT pg_advisory_xact_lock(4707001);
CREATE SCHEMA IF NOT EXISTS airfleet;
CREATE OR REPLACE FUNCTION airfleet.wake_scheduler() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'task_instance' THEN
        PERFORM pg_notify('airfleet_scheduler', NEW.dag_id || ' ' || NEW.run_id);
    ELSE
        PERFORM pg_notify('airfleet_scheduler', '');
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER airfleet_wake AFTER UPDATE OF state ON task_instance FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state AND (
        NEW.state IS NULL
        OR NEW.state IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed', 'up_for_retry')
        OR (NEW.state = 'scheduled' AND OLD.state IN ('deferred', 'awaiting_input'))
    ))
    EXECUTE FUNCTION airfleet.wake_scheduler();
CREATE OR REPLACE TRIGGER airfleet_wake_new AFTER INSERT ON dag_run FOR EACH STATEMENT
    EXECUTE FUNCTION airfleet.wake_scheduler();
CREATE OR REPLACE TRIGGER airfleet_wake AFTER UPDATE OF state ON dag_run FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state AND NEW.state <> 'running')
    EXECUTE FUNCTION airfleet.wake_scheduler();
CREATE OR REPLACE TRIGGER airfleet_wake AFTER INSERT ON asset_dag_run_queue FOR EACH STATEMENT
    EXECUTE FUNCTION airfleet.wake_scheduler();
COMMENT ON FUNCTION airfleet.wake_scheduler() IS '2';
COMMIT;
