-- The statements of deployments.py. `%(name)s` is a parameter.

-- name: next
SELECT id, bundle, release, action, actor, reason, detail FROM airfleet.deployment
WHERE state IN %(pending)s ORDER BY id LIMIT 1

-- name: enter
UPDATE airfleet.deployment SET state = %(state)s, started_at = COALESCE(started_at, now()), release = %(release)s
WHERE id = %(id)s

-- name: finish
UPDATE airfleet.deployment SET state = %(state)s, finished_at = now(), detail = detail || %(detail)s::jsonb
WHERE id = %(id)s AND state IN %(pending)s

-- name: go_live
-- Runs in the transaction that moves the pointer, so that both have the same time.
UPDATE airfleet.deployment d SET state = w.state, live_at = CASE WHEN %(is_moved)s THEN now() END,
    watch_until = CASE w.state WHEN 'watching' THEN now() + %(seconds)s * interval '1 second' END,
    finished_at = CASE w.state WHEN 'done' THEN now() END,
    detail = d.detail || %(detail)s::jsonb
FROM (SELECT %(state)s AS state) w
WHERE d.id = %(id)s AND d.state IN %(pending)s

-- name: find_previous
-- Skips a release that its watch rolled back, unless it went live again since. Skips the live release also under the
-- shorter id of an earlier version of airfleet, which is a prefix of the longer id.
SELECT d.release FROM airfleet.deployment d JOIN airfleet.release r ON r.id = d.release AND r.collected_at IS NULL
    JOIN airfleet.pointer p ON p.bundle = d.bundle
WHERE d.bundle = %(bundle)s AND d.live_at IS NOT NULL AND d.state <> 'failed'
    AND NOT starts_with(d.release, p.live) AND NOT starts_with(p.live, d.release)
    AND NOT EXISTS (SELECT 1 FROM airfleet.deployment f
        WHERE f.bundle = d.bundle AND f.release = d.release AND f.state = 'failed' AND f.live_at > d.live_at)
ORDER BY d.live_at DESC LIMIT 1

-- name: is_overtaken
-- For an automatic rollback, `id` is the deployment that it undoes: any later live deployment overtakes the rollback.
SELECT 1 FROM airfleet.deployment WHERE bundle = %(bundle)s AND id > %(id)s AND live_at IS NOT NULL LIMIT 1
