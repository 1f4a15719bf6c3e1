-- The statements of command.py. `%(name)s` is a parameter.

-- name: end
INSERT INTO airfleet.job (name, fingerprint, ended_at) VALUES (%(name)s, '', clock_timestamp())
ON CONFLICT (name) DO UPDATE SET ended_at = excluded.ended_at

-- name: left
-- The moment stays that of the last archive that left nothing.
INSERT INTO airfleet.job AS j (name, fingerprint, ended_at) VALUES (%(name)s, %(left)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint,
    ended_at = CASE WHEN excluded.fingerprint = '0' THEN excluded.ended_at ELSE j.ended_at END
