-- Why: the agents process does some work once for the whole fleet, and its counters outlast a process.
INSERT INTO airfleet.lease (name) VALUES ('agents') ON CONFLICT DO NOTHING;

CREATE TABLE airfleet.metric_counter (
    name text NOT NULL,
    labels text[] NOT NULL,
    amounts float8[] NOT NULL,
    PRIMARY KEY (name, labels)
) WITH (fillfactor = 70);
COMMENT ON TABLE airfleet.metric_counter IS 'the values of metrics that must not begin again at a fail-over';
COMMENT ON COLUMN airfleet.metric_counter.labels IS 'label values, in the order of the labels of the metric';
COMMENT ON COLUMN airfleet.metric_counter.amounts IS
    'one number; of a histogram the count of each bucket, and the sum of all values';

CREATE TABLE airfleet.metric_reader (
    name text PRIMARY KEY,
    position jsonb NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE airfleet.metric_reader IS 'how far the exporter has read a table, written with what it counted there';
