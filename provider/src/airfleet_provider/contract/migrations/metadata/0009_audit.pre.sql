-- Why: changes are recorded in a chain of hashes, in which an edited or removed row is found (ADR 57).
CREATE TABLE airfleet.audit (
    number bigint PRIMARY KEY,
    recorded_at timestamptz NOT NULL,
    id uuid NOT NULL UNIQUE,
    entry text NOT NULL,
    previous text NOT NULL,
    hash text NOT NULL
);
COMMENT ON TABLE airfleet.audit IS 'who changed what; only the trigger gives numbers and hashes, and rows stay as they are';
COMMENT ON COLUMN airfleet.audit.id IS 'whoever records an entry twice records it once';
COMMENT ON COLUMN airfleet.audit.entry IS 'a JSON object, kept as text because the hash is that of the text';
COMMENT ON COLUMN airfleet.audit.previous IS 'the hash of the row before';
CREATE INDEX audit_recent ON airfleet.audit (recorded_at);

CREATE TABLE airfleet.audit_head (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    number bigint NOT NULL,
    hash text NOT NULL
);
COMMENT ON TABLE airfleet.audit_head IS 'the number and hash of the last row; its lock gives the rows their order';
INSERT INTO airfleet.audit_head (number, hash) VALUES (0, repeat('0', 64));

CREATE TABLE airfleet.audit_intent (
    id uuid PRIMARY KEY,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry text NOT NULL
);
COMMENT ON TABLE airfleet.audit_intent IS 'requests that have begun to change something, until their outcome is recorded';

CREATE FUNCTION airfleet.append_to_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head airfleet.audit_head;
BEGIN
    SELECT * INTO STRICT head FROM airfleet.audit_head FOR UPDATE;
    IF EXISTS (SELECT FROM airfleet.audit WHERE id = NEW.id) THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(NEW.entry::jsonb) <> 'object' THEN
        RAISE EXCEPTION 'an entry of the audit log is a JSON object';
    END IF;
    NEW.number := head.number + 1;
    NEW.recorded_at := clock_timestamp();
    NEW.previous := head.hash;
    NEW.hash := encode(sha256(convert_to(
        NEW.previous || chr(10) || NEW.number || chr(10)
        || to_char(NEW.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || chr(10)
        || NEW.id || chr(10) || NEW.entry, 'UTF8'
    )), 'hex');
    UPDATE airfleet.audit_head SET number = NEW.number, hash = NEW.hash;
    RETURN NEW;
END
$$;
CREATE TRIGGER append_to_audit BEFORE INSERT ON airfleet.audit
    FOR EACH ROW EXECUTE FUNCTION airfleet.append_to_audit();

CREATE FUNCTION airfleet.keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A cut is recorded before it deletes (contract/audit_store.sql).
    IF TG_OP = 'DELETE' AND OLD.number <= coalesce(nullif(current_setting('airfleet.audit_cut', true), ''), '0')::bigint THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'rows of airfleet.audit stay as they are' USING HINT = 'airfleet audit archive';
END
$$;
CREATE TRIGGER keep_audit BEFORE UPDATE OR DELETE ON airfleet.audit
    FOR EACH ROW EXECUTE FUNCTION airfleet.keep_audit();
CREATE TRIGGER keep_audit_whole BEFORE TRUNCATE ON airfleet.audit
    FOR EACH STATEMENT EXECUTE FUNCTION airfleet.keep_audit();
