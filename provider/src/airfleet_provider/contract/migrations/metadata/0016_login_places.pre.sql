-- Why: whoever guesses a password must not lock out its owner, who logs in from elsewhere (ADR 73).
CREATE TABLE airfleet.login_place (
    name text NOT NULL,
    address text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, address)
);
COMMENT ON TABLE airfleet.login_place IS 'from where each user has logged in lately';
