-- Why: events of OpenLineage and spans of tasks' own code, as supervisors hand them over; what the events say of tables
-- and columns; and which events wait for which backend (ADR 79). A record is named by its file and its place there. No
-- foreign key to Airflow's tables, for the reason of `task_usage`.
CREATE TABLE airfleet.lineage_event (
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    file uuid NOT NULL,
    place int NOT NULL,
    instance uuid NOT NULL,
    arrived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    is_read boolean NOT NULL DEFAULT false,
    body text NOT NULL,
    PRIMARY KEY (file, place)
);
COMMENT ON TABLE airfleet.lineage_event IS 'events of OpenLineage that tasks wrote, without what may be secret';
COMMENT ON COLUMN airfleet.lineage_event.instance IS 'the id of the task instance whose token came with it';
COMMENT ON COLUMN airfleet.lineage_event.is_read IS 'whether its facts are in the other tables, and its deliveries written';
CREATE INDEX lineage_event_unread ON airfleet.lineage_event (number) WHERE NOT is_read;
CREATE INDEX lineage_event_arrived ON airfleet.lineage_event (arrived_at);
CREATE INDEX lineage_event_instance ON airfleet.lineage_event (instance);

CREATE TABLE airfleet.lineage_delivery (
    backend text NOT NULL,
    event bigint NOT NULL REFERENCES airfleet.lineage_event (number) ON DELETE CASCADE,
    failures int NOT NULL DEFAULT 0,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (backend, event)
);
COMMENT ON TABLE airfleet.lineage_delivery IS 'events that wait for a backend; a row goes when the backend has confirmed it';
CREATE INDEX lineage_delivery_event ON airfleet.lineage_delivery (event);
CREATE INDEX lineage_delivery_order ON airfleet.lineage_delivery (backend, failures, event);

CREATE TABLE airfleet.dataset_use (
    dag_id text NOT NULL,
    task_id text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    is_output boolean NOT NULL,
    seen_at timestamptz NOT NULL,
    run_id text NOT NULL,
    columns text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (dag_id, task_id, namespace, name, is_output)
) WITH (fillfactor = 70);
COMMENT ON TABLE airfleet.dataset_use IS 'which task read or wrote which table or file, and when last, by its events';
CREATE INDEX dataset_use_seen ON airfleet.dataset_use (seen_at);

CREATE TABLE airfleet.column_use (
    dag_id text NOT NULL,
    task_id text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    field text NOT NULL,
    from_namespace text NOT NULL,
    from_name text NOT NULL,
    from_field text NOT NULL,
    how text NOT NULL DEFAULT '',
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (dag_id, task_id, namespace, name, field, from_namespace, from_name, from_field)
) WITH (fillfactor = 70);
COMMENT ON TABLE airfleet.column_use IS 'which column a task made from which, by its events';
COMMENT ON COLUMN airfleet.column_use.how IS 'the kind of the transformation, such as DIRECT or MASKED';
CREATE INDEX column_use_seen ON airfleet.column_use (seen_at);

CREATE TABLE airfleet.user_span (
    file uuid NOT NULL,
    place int NOT NULL,
    instance uuid NOT NULL,
    number int NOT NULL,
    parent int NOT NULL,
    name text NOT NULL,
    error text NOT NULL,
    began_at timestamptz NOT NULL,
    took_s real NOT NULL,
    attributes jsonb NOT NULL,
    arrived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (file, place)
);
COMMENT ON TABLE airfleet.user_span IS 'spans that the code of tasks measured';
CREATE INDEX user_span_instance ON airfleet.user_span (instance);
CREATE INDEX user_span_arrived ON airfleet.user_span (arrived_at);

CREATE TABLE airfleet.record_total (
    kind text PRIMARY KEY,
    amount bigint NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE airfleet.record_total IS 'how many records were read, sent, given up or cut since the beginning';
