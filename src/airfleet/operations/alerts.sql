-- The statements of alerts.py. `%(name)s` is a parameter.

-- name: open_ids
SELECT id FROM airfleet.alert WHERE resolved_at IS NULL ORDER BY id

-- name: test
INSERT INTO airfleet.notification (key, receiver, kind) VALUES (%(key)s, %(receiver)s, 'test') RETURNING id

-- name: outcome
SELECT state, attempts, error FROM airfleet.notification WHERE id = %(id)s
