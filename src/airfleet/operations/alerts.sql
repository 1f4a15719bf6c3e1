-- The statements of alerts.py. `%(name)s` is a parameter.

-- name: open_ids
SELECT id FROM airfleet.alert WHERE resolved_at IS NULL ORDER BY id

-- name: find
SELECT name, source, labels FROM airfleet.alert WHERE id = %(id)s

-- name: silence
INSERT INTO airfleet.silence (matchers, actor, comment, ends_at)
VALUES (%(matchers)s::jsonb, %(actor)s, %(comment)s, clock_timestamp() + make_interval(secs => %(seconds)s))
RETURNING id

-- name: end_silence
UPDATE airfleet.silence SET ends_at = clock_timestamp() WHERE id = %(id)s AND ends_at > clock_timestamp() RETURNING id

-- name: test
INSERT INTO airfleet.notification (key, receiver, kind) VALUES (%(key)s, %(receiver)s, 'test') RETURNING id

-- name: outcome
SELECT state, attempts, error FROM airfleet.notification WHERE id = %(id)s
