-- Why: scripts log in as service accounts, whose tokens end and can be revoked (ADR 87).
CREATE TABLE airfleet.access_token (
    id text PRIMARY KEY,
    name text NOT NULL,
    user_id int NOT NULL,
    hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    used_at timestamptz
);
COMMENT ON TABLE airfleet.access_token IS 'the tokens of service accounts, each with a user of Airflow; a row stays after its token has ended';
COMMENT ON COLUMN airfleet.access_token.hash IS 'SHA-256 of the token, which is random, so that a slow hash would add nothing';
COMMENT ON COLUMN airfleet.access_token.used_at IS 'the last use, written once an hour at most';
-- One token of a name is valid at a time.
CREATE UNIQUE INDEX access_token_name ON airfleet.access_token (name) WHERE revoked_at IS NULL;
