-- Why: users of a directory or an OpenID provider lose their sessions when it no longer confirms them (ADR 78).
CREATE TABLE airfleet.directory_user (
    -- The number of the user in ab_user, whose rows FAB makes and removes.
    user_id integer PRIMARY KEY,
    -- Which directory it is, and what names one person there for ever.
    source text NOT NULL,
    subject text NOT NULL,
    -- When the directory last said who this is and in which groups.
    confirmed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When a web host last began to ask again.
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Whether the directory no longer knows the user. Somebody whom an administrator deactivated is not ended here.
    is_ended boolean NOT NULL DEFAULT false,
    UNIQUE (source, subject)
);
COMMENT ON TABLE airfleet.directory_user IS 'the users who come from a directory or an OpenID provider';
