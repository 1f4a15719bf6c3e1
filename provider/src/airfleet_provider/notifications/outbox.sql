-- The statements of outbox.py. `%(name)s` is a parameter.

-- name: alerts
SELECT id, source, name, severity, labels, severity_at, resolved_at, clock_timestamp() AS now FROM airfleet.alert
WHERE settled_at IS NULL ORDER BY id

-- name: acknowledgements
SELECT alert, acknowledged_at FROM airfleet.acknowledgement WHERE alert = ANY(%(alerts)s)

-- name: silences
SELECT matchers, starts_at, ends_at FROM airfleet.silence WHERE ends_at > clock_timestamp()

-- name: written
-- The last of each kind for each receiver: what an alert needs next follows from these, however often it was repeated.
SELECT DISTINCT ON (alert, receiver, kind) alert, receiver, kind, due_at, key FROM airfleet.notification
WHERE alert = ANY(%(alerts)s) ORDER BY alert, receiver, kind, id DESC

-- name: write
-- An alert that was resolved when it was read needs no more notifications than these.
WITH written AS (
    INSERT INTO airfleet.notification (key, alert, receiver, kind, due_at)
    SELECT key, alert, receiver, kind, due_at
    FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS decided (key text, alert bigint, receiver text, kind text, due_at timestamptz)
    ORDER BY alert, due_at
    ON CONFLICT (key) DO NOTHING
)
UPDATE airfleet.alert SET settled_at = clock_timestamp() WHERE id = ANY(%(settled)s) AND settled_at IS NULL

-- name: waiting
SELECT DISTINCT receiver FROM airfleet.notification
WHERE state = 'sending' OR (state = 'pending' AND due_at <= clock_timestamp())

-- name: claim_again
-- A message with an unknown outcome is sent again as it was, never with other notifications: its key is the same, so
-- that a receiver can tell that it is the same. The message of another sender waits until that sender must have ended.
-- After a few attempts a message waits longer and longer, so that the messages behind it get their turn.
WITH picked AS (
    SELECT message FROM airfleet.notification
    WHERE receiver = %(receiver)s AND state = 'sending'
        AND sending_at < clock_timestamp() - make_interval(secs => CASE
            WHEN sender <> %(sender)s THEN %(expiry)s
            WHEN attempts < %(patience)s THEN 0.0
            ELSE least(%(longest)s, power(2.0, least(attempts, 10)))
        END)
    ORDER BY id LIMIT 1
)
UPDATE airfleet.notification AS notification
SET sender = %(sender)s, sending_at = clock_timestamp(), attempts = attempts + 1
FROM picked
WHERE notification.message = picked.message AND notification.receiver = %(receiver)s AND state = 'sending'
RETURNING notification.id

-- name: claim
-- The first that is due, with those after it. What a receiver refused in company is sent alone. If a message has room
-- for several notifications, all those of one alert are in one message.
WITH grouped AS (
    SELECT id, key, is_alone, min(id) OVER (PARTITION BY coalesce(alert, -id)) AS first FROM airfleet.notification
    WHERE receiver = %(receiver)s AND state = 'pending' AND due_at <= clock_timestamp()
), due AS (
    SELECT id, key, is_alone, first, row_number() OVER (ORDER BY first, id) AS place FROM grouped
), picked AS (
    SELECT id, key FROM due
    WHERE place = 1 OR (
        (place <= %(most)s OR (%(most)s > 1 AND first = (SELECT first FROM due WHERE place = %(most)s)))
        AND NOT is_alone AND NOT EXISTS (SELECT FROM due AS alone WHERE place = 1 AND is_alone)
    )
), named AS (
    SELECT CASE
        WHEN count(*) = 1 THEN min(key)
        ELSE 'batch.' || encode(sha256(convert_to(string_agg(key, ',' ORDER BY id), 'UTF8')), 'hex')
    END AS message FROM picked
)
UPDATE airfleet.notification AS notification
SET state = 'sending', sender = %(sender)s, sending_at = clock_timestamp(), attempts = attempts + 1,
    message = named.message
FROM picked, named
WHERE notification.id = picked.id AND notification.state = 'pending'
RETURNING notification.id

-- name: content
SELECT n.id, n.key, n.kind, n.message, n.attempts, n.alert, n.created_at, a.fingerprint, a.source, a.name, a.severity,
    a.summary, a.description, a.labels, a.runbook, a.started_at, a.raised_at, a.resolved_at,
    a.ended_by, a.end_note
FROM airfleet.notification n LEFT JOIN airfleet.alert a ON a.id = n.alert
WHERE n.id = ANY(%(ids)s) ORDER BY n.id

-- name: sent
UPDATE airfleet.notification SET state = 'sent', sent_at = clock_timestamp(), error = %(error)s
WHERE id = ANY(%(ids)s) AND state = 'sending' AND sender = %(sender)s

-- name: unknown
UPDATE airfleet.notification
SET error = %(error)s,
    state = CASE
        WHEN created_at < clock_timestamp() - make_interval(secs => %(give_up)s) THEN 'failed' ELSE 'sending'
    END
WHERE id = ANY(%(ids)s) AND state = 'sending' AND sender = %(sender)s

-- name: unsent
-- What has no chance any more is given up, so that it does not hold up the rest.
UPDATE airfleet.notification
SET state = CASE
        WHEN created_at < clock_timestamp() - make_interval(secs => %(give_up)s) THEN 'failed' ELSE 'pending'
    END,
    message = NULL, attempts = 0, error = %(error)s
WHERE id = ANY(%(ids)s) AND state = 'sending' AND sender = %(sender)s

-- name: refused
UPDATE airfleet.notification
SET state = CASE WHEN is_alone AND attempts >= %(most)s THEN 'failed' ELSE 'pending' END,
    due_at = CASE WHEN is_alone THEN clock_timestamp() + make_interval(secs => %(wait)s) ELSE due_at END,
    message = NULL, is_alone = true, error = %(error)s
WHERE id = ANY(%(ids)s) AND state = 'sending' AND sender = %(sender)s

-- name: give_up
UPDATE airfleet.notification SET state = 'failed', error = 'fleet.yaml has no receiver of this name'
WHERE state IN ('pending', 'sending') AND receiver <> ALL(%(receivers)s)

-- name: resolve_others
UPDATE airfleet.alert SET resolved_at = clock_timestamp()
WHERE resolved_at IS NULL AND name = %(name)s AND source = 'airfleet'
    AND NOT coalesce(labels ->> 'receiver' = ANY(%(receivers)s), false)

-- name: overdue
SELECT receiver, extract(epoch FROM clock_timestamp() - min(due_at))::float AS age_s, max(error) AS error
FROM airfleet.notification
WHERE state IN ('pending', 'sending') AND due_at < clock_timestamp() - make_interval(secs => %(after)s)
GROUP BY receiver

-- name: prune
WITH old AS (
    SELECT id FROM airfleet.alert
    WHERE raised_at < clock_timestamp() - make_interval(days => %(days)s) AND settled_at IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM airfleet.notification AS unsent
            WHERE unsent.alert = alert.id AND unsent.state IN ('pending', 'sending')
        )
    ORDER BY raised_at LIMIT 1000
), silences AS (
    DELETE FROM airfleet.silence WHERE ends_at < clock_timestamp() - make_interval(days => %(days)s)
), reminders AS (
    -- Of the reminders of an alert that stays open, only the last one matters.
    DELETE FROM airfleet.notification AS former
    WHERE former.kind = 'reminder' AND former.state IN ('sent', 'failed')
        AND former.created_at < clock_timestamp() - make_interval(days => %(days)s)
        AND EXISTS (
            SELECT FROM airfleet.notification AS later
            WHERE later.alert = former.alert AND later.receiver = former.receiver AND later.kind = 'reminder'
                AND later.id > former.id
        )
), tests AS (
    DELETE FROM airfleet.notification
    WHERE alert IS NULL AND created_at < clock_timestamp() - make_interval(days => %(days)s)
)
DELETE FROM airfleet.alert USING old WHERE alert.id = old.id
