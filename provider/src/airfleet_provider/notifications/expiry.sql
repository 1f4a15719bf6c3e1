-- The statements of expiry.py. `%(name)s` is a parameter.

-- name: looked
-- The agents look each minute. `since` begins anew after a gap: then nobody was there to whom an alert could be repeated.
INSERT INTO airfleet.heartbeat AS known (name) VALUES (%(looks)s)
ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp(), since = CASE
    WHEN known.seen_at > clock_timestamp() - make_interval(secs => %(gap)s) THEN known.since ELSE clock_timestamp()
END

-- name: unreported
-- Reports count from the moment on from which the watchdog alert has arrived without a gap. So an outage of Prometheus,
-- of Alertmanager, of the agents or of this database ends no alert.
WITH reports AS (
    SELECT seen_at, since, seen_at > clock_timestamp() - make_interval(secs => %(gap)s) AS arrive
    FROM airfleet.heartbeat WHERE name = %(watchdog)s
)
UPDATE airfleet.alert AS alert SET resolved_at = clock_timestamp(), ended_by = %(ended_by)s,
    end_note = 'Alertmanager has not reported it since '
        || to_char(alert.seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
WHERE alert.resolved_at IS NULL AND alert.source = %(source)s AND CASE
    WHEN EXISTS (SELECT FROM reports WHERE arrive) THEN
        greatest(alert.seen_at, (SELECT since FROM reports)) < clock_timestamp() - make_interval(secs => %(unreported)s)
    ELSE NOT %(is_watched)s AND alert.seen_at < clock_timestamp() - make_interval(secs => %(unwatched)s)
        AND EXISTS (
            SELECT FROM airfleet.heartbeat
            WHERE name = %(looks)s AND since < clock_timestamp() - make_interval(secs => %(unreported)s)
        )
END

-- name: unwatched
UPDATE airfleet.alert SET resolved_at = clock_timestamp(), ended_by = %(ended_by)s,
    end_note = 'the watchdog alert of Prometheus is no longer expected'
WHERE resolved_at IS NULL AND fingerprint = %(fingerprint)s
