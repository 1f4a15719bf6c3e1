-- Why: failed logins are counted for all web hosts together, and on both ways in (ADR 57).
CREATE TABLE airfleet.login_failure (
    id uuid PRIMARY KEY,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    address text NOT NULL,
    name text NOT NULL
);
COMMENT ON TABLE airfleet.login_failure IS 'logins that failed lately, and those under way; the next login removes old ones';
CREATE INDEX login_failure_address ON airfleet.login_failure (address, failed_at);
CREATE INDEX login_failure_name ON airfleet.login_failure (name, failed_at);
