-- Why: alerts, and who was notified of them, are rows. So no restart, outage or fail-over loses an alert (ADR 45).
CREATE TABLE airfleet.alert (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint text NOT NULL,
    source text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    summary text NOT NULL,
    description text NOT NULL DEFAULT '',
    labels jsonb NOT NULL DEFAULT '{}',
    runbook text NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    raised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    severity_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    settled_at timestamptz
);
COMMENT ON COLUMN airfleet.alert.started_at IS 'when the condition began, by the clock of the source';
COMMENT ON COLUMN airfleet.alert.severity_at IS 'when the severity last rose; an earlier acknowledgement does not count';
COMMENT ON COLUMN airfleet.alert.settled_at IS 'when the last notification of a resolved alert was written';
CREATE UNIQUE INDEX alert_open ON airfleet.alert (fingerprint) WHERE resolved_at IS NULL;
CREATE INDEX alert_episode ON airfleet.alert (fingerprint, started_at);
CREATE INDEX alert_unsettled ON airfleet.alert (id) WHERE settled_at IS NULL;
CREATE INDEX alert_raised ON airfleet.alert (raised_at);

CREATE TABLE airfleet.notification (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,
    alert bigint REFERENCES airfleet.alert ON DELETE CASCADE,
    receiver text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('firing', 'reminder', 'resolved', 'test')),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'sent', 'failed')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    message text,
    is_alone boolean NOT NULL DEFAULT false,
    attempts int NOT NULL DEFAULT 0,
    sender text,
    sending_at timestamptz,
    sent_at timestamptz,
    error text
);
COMMENT ON COLUMN airfleet.notification.key IS 'one notification is written once, however often it is decided';
COMMENT ON COLUMN airfleet.notification.message IS 'the message that carries it, written before the message is sent';
COMMENT ON COLUMN airfleet.notification.is_alone IS 'the receiver refused it in a message with others';
CREATE INDEX notification_unsent ON airfleet.notification (receiver, due_at) WHERE state IN ('pending', 'sending');
CREATE INDEX notification_of_alert ON airfleet.notification (alert);

CREATE TABLE airfleet.acknowledgement (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert bigint NOT NULL REFERENCES airfleet.alert ON DELETE CASCADE,
    actor text NOT NULL,
    via text NOT NULL,
    note text NOT NULL DEFAULT '',
    acknowledged_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX acknowledgement_of_alert ON airfleet.acknowledgement (alert);

CREATE TABLE airfleet.silence (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    matchers jsonb NOT NULL,
    actor text NOT NULL,
    comment text NOT NULL DEFAULT '',
    starts_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at timestamptz NOT NULL
);
CREATE INDEX silence_end ON airfleet.silence (ends_at);

CREATE TABLE airfleet.heartbeat (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE airfleet.heartbeat IS 'signals that must arrive regularly, such as the watchdog alert of Prometheus';

CREATE TABLE airfleet.watched_run (
    id bigint PRIMARY KEY
);
COMMENT ON TABLE airfleet.watched_run IS 'the Dag runs that had not ended when the failure rules last looked';
CREATE TABLE airfleet.watermark (
    name text PRIMARY KEY,
    value bigint NOT NULL
);
