-- Why: the rules of `access` in fleet.yaml decide who may read and edit which Dag (ADR 71).
CREATE TABLE airfleet.access (
    -- There is one row.
    is_present boolean PRIMARY KEY DEFAULT true CHECK (is_present),
    rules text NOT NULL,
    -- By user, a salted hash of the last password that fleet.yaml gave.
    passwords text NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE airfleet.access IS 'the rules by which roles of fleet.yaml read and edit Dags';
