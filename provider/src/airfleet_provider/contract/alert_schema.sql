-- The statements of alert_schema.py. `%(name)s` is a parameter.

-- name: raise_alert
-- An open alert is updated. An episode that has ended is not begun again: a delayed or repeated report of it changes
-- nothing. What somebody else than its source ended begins again if the source says that the condition holds now.
INSERT INTO airfleet.alert AS alert
    (fingerprint, source, name, severity, summary, description, labels, runbook, started_at)
SELECT %(fingerprint)s, %(source)s, %(name)s, %(severity)s, %(summary)s, %(description)s, %(labels)s::jsonb,
    %(runbook)s, coalesce(%(started_at)s::timestamptz, clock_timestamp())
WHERE NOT EXISTS (
    SELECT FROM airfleet.alert ended
    WHERE ended.fingerprint = %(fingerprint)s AND ended.started_at = %(started_at)s::timestamptz
        AND ended.resolved_at IS NOT NULL AND NOT (%(is_asserted)s AND ended.ended_by <> '')
)
ON CONFLICT (fingerprint) WHERE resolved_at IS NULL DO UPDATE SET
    severity = excluded.severity, summary = excluded.summary, description = excluded.description,
    labels = excluded.labels, runbook = excluded.runbook, seen_at = clock_timestamp(),
    severity_at = CASE
        WHEN array_position(ARRAY['info', 'warning', 'critical'], excluded.severity)
            > array_position(ARRAY['info', 'warning', 'critical'], alert.severity) THEN clock_timestamp()
        ELSE alert.severity_at
    END
RETURNING id

-- name: resolve_alert
UPDATE airfleet.alert SET resolved_at = clock_timestamp()
WHERE fingerprint = %(fingerprint)s AND resolved_at IS NULL
    AND started_at <= coalesce(%(ended_at)s::timestamptz, 'infinity')
RETURNING id

-- name: end_alert
UPDATE airfleet.alert SET resolved_at = clock_timestamp(), ended_by = %(ended_by)s, end_note = %(note)s
WHERE id = %(id)s AND resolved_at IS NULL
RETURNING id

-- name: beat
INSERT INTO airfleet.heartbeat AS beat (name) VALUES (%(name)s)
ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp(), since = CASE
    WHEN beat.seen_at < clock_timestamp() - make_interval(secs => %(gap)s) THEN clock_timestamp() ELSE beat.since
END

-- name: read_alert
SELECT id, name, severity, summary, resolved_at IS NOT NULL AS is_resolved,
    (SELECT actor FROM airfleet.acknowledgement WHERE acknowledgement.alert = alert.id ORDER BY id DESC LIMIT 1) AS acknowledged_by
FROM airfleet.alert AS alert WHERE id = %(id)s

-- name: acknowledge
INSERT INTO airfleet.acknowledgement (alert, actor, via, note)
SELECT id, %(actor)s, %(via)s, %(note)s FROM airfleet.alert WHERE id = %(id)s
RETURNING alert AS id
