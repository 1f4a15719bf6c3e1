-- The statements of alert_list.py. `%(name)s` is a parameter.

-- name: list
SELECT a.id, a.severity, a.name, a.source, a.summary, a.labels, a.runbook, a.started_at, a.resolved_at,
    a.ended_by, a.end_note,
    k.actor AS acknowledged_by,
    coalesce((
        SELECT jsonb_object_agg(receiver, counts) FROM (
            SELECT receiver, jsonb_build_object(
                'sent', count(*) FILTER (WHERE state = 'sent'),
                'unsent', count(*) FILTER (WHERE state IN ('pending', 'sending')),
                'failed', count(*) FILTER (WHERE state = 'failed'),
                'error', max(error) FILTER (WHERE state <> 'sent')
            ) AS counts FROM airfleet.notification n WHERE n.alert = a.id GROUP BY receiver
        ) AS by_receiver
    ), '{}') AS notified
FROM airfleet.alert a LEFT JOIN LATERAL (
    SELECT actor FROM airfleet.acknowledgement
    WHERE alert = a.id AND acknowledged_at >= a.severity_at ORDER BY id DESC LIMIT 1
) k ON true
WHERE a.resolved_at IS NULL OR (%(all)s AND a.resolved_at > clock_timestamp() - interval '1 day')
ORDER BY a.resolved_at IS NOT NULL, array_position(ARRAY['critical', 'warning', 'info'], a.severity), a.id

-- name: silences
SELECT id, matchers, actor, comment, starts_at, ends_at FROM airfleet.silence
WHERE ends_at > clock_timestamp() ORDER BY id

-- name: find
SELECT name, source, labels FROM airfleet.alert WHERE id = %(id)s

-- name: silence
INSERT INTO airfleet.silence (matchers, actor, comment, ends_at)
VALUES (%(matchers)s::jsonb, %(actor)s, %(comment)s, clock_timestamp() + make_interval(secs => %(seconds)s))
RETURNING id

-- name: end_silence
UPDATE airfleet.silence SET ends_at = clock_timestamp() WHERE id = %(id)s AND ends_at > clock_timestamp() RETURNING id
