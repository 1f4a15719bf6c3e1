BEGIN;
SET LOCAL search_path = pg_catalog;
SET LOCAL client_min_messages = warning;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS airfleet;
CREATE TABLE IF NOT EXISTS airfleet.task_result (
    task_id text PRIMARY KEY CHECK (length(task_id) <= 155),
    status text NOT NULL CHECK (status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REFUSED')),
    ended_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS task_result_ended_at ON airfleet.task_result (ended_at);
GRANT USAGE ON SCHEMA airfleet TO airfleet_results_writer, airfleet_results_reader;
REVOKE ALL ON airfleet.task_result FROM PUBLIC, airfleet_results_writer, airfleet_results_reader;
GRANT INSERT (task_id, status) ON airfleet.task_result TO airfleet_results_writer;
GRANT SELECT, DELETE ON airfleet.task_result TO airfleet_results_reader;
COMMIT;
