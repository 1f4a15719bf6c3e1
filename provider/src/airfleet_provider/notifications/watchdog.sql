-- The statements of watchdog.py. `%(name)s` is a parameter.

-- name: begin
INSERT INTO airfleet.heartbeat (name) VALUES (%(name)s) ON CONFLICT (name) DO NOTHING

-- name: age
SELECT extract(epoch FROM clock_timestamp() - seen_at)::float AS age_s FROM airfleet.heartbeat WHERE name = %(name)s

-- name: unsent
SELECT EXISTS (
    SELECT FROM airfleet.notification
    WHERE state IN ('pending', 'sending') AND due_at < clock_timestamp() - make_interval(secs => %(after)s)
) AS is_stuck
