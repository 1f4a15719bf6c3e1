-- Why: people look for an archived run on the Fleet pages, and no web host reaches the store of the archive (ADR 98).
CREATE TABLE airfleet.archived_batch (
    batch text PRIMARY KEY,
    dag_id text NOT NULL,
    month text NOT NULL,
    created_at timestamptz NOT NULL,
    runs int NOT NULL,
    task_instances bigint NOT NULL,
    bytes bigint NOT NULL,
    first_after timestamptz NOT NULL,
    last_after timestamptz NOT NULL,
    listed jsonb NOT NULL
);
COMMENT ON TABLE airfleet.archived_batch IS 'a copy of what the manifests in the store of the archive say; made anew from them';
COMMENT ON COLUMN airfleet.archived_batch.listed IS 'the runs: each with run_id, run_after and the number of its task instances';
CREATE INDEX archived_batch_of_dag ON airfleet.archived_batch (dag_id, last_after);
