-- Why: the traces of ended runs are sent by one agents process, which may die or give up its lease at any time (ADR 70).
CREATE TABLE airfleet.traced_run (
    id bigint PRIMARY KEY,
    is_waiting boolean NOT NULL DEFAULT true,
    failures int NOT NULL DEFAULT 0,
    sent_until timestamptz,
    sent_at timestamptz
) WITH (fillfactor = 70);
COMMENT ON TABLE airfleet.traced_run IS 'Dag runs whose trace is to be sent, and those whose trace was sent lately';
COMMENT ON COLUMN airfleet.traced_run.id IS 'the key of the run in dag_run';
COMMENT ON COLUMN airfleet.traced_run.is_waiting IS 'whether the run goes on, or has ended and its trace is not sent';
COMMENT ON COLUMN airfleet.traced_run.failures IS 'attempts that failed since the run is waiting';
COMMENT ON COLUMN airfleet.traced_run.sent_until IS 'the end of the run as its last trace has it';
COMMENT ON COLUMN airfleet.traced_run.sent_at IS 'when the collector confirmed the last trace, or when it was given up';
CREATE INDEX traced_run_waiting ON airfleet.traced_run (failures, id) WHERE is_waiting;

CREATE TABLE airfleet.trace_total (
    kind text PRIMARY KEY,
    amount bigint NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE airfleet.trace_total IS 'how many traces and spans were sent, given up or refused since the beginning';
