-- The statements of canary.py. `%(name)s` is a parameter.

-- name: watched
SELECT d.id, d.bundle, d.release, d.detail,
    COALESCE(p.live = d.release AND p.moved_at = d.live_at AND b.version = d.release, false) AS is_live,
    extract(epoch FROM d.watch_until - clock_timestamp())::float AS remaining_s
FROM airfleet.deployment d
LEFT JOIN airfleet.pointer p ON p.bundle = d.bundle
LEFT JOIN dag_bundle b ON b.name = d.bundle
WHERE d.state = 'watching' ORDER BY d.id

-- name: list_broken
SELECT filename FROM import_error WHERE bundle_name = %(bundle)s ORDER BY filename

-- name: count_orphans
SELECT d.dag_id, count(*) AS runs FROM dag d JOIN dag_run r ON r.dag_id = d.dag_id
WHERE d.dag_id = ANY(%(gone)s::text[]) AND d.is_stale AND r.state IN ('queued', 'running') GROUP BY 1

-- name: count_ends
-- The history holds attempts that failed and were retried, and attempts that were cleared.
WITH run AS MATERIALIZED (
    SELECT dag_id, run_id FROM dag_run
    WHERE id > %(after)s AND bundle_version = %(release)s
), try AS (
    SELECT t.dag_id, t.state FROM run JOIN task_instance t USING (dag_id, run_id)
    UNION ALL SELECT t.dag_id, t.state FROM run JOIN task_instance_history t USING (dag_id, run_id)
)
SELECT dag_id, count(*) AS ended, count(*) FILTER (WHERE state = 'failed') AS failed
FROM try WHERE state IN ('success', 'failed') GROUP BY 1

-- name: last_run
SELECT COALESCE(max(id), 0) FROM dag_run

-- name: end
UPDATE airfleet.deployment SET state = %(state)s, finished_at = now(), verdict = %(sentence)s
WHERE id = %(id)s AND state = 'watching'

-- name: ask_back
INSERT INTO airfleet.deployment (bundle, release, action, actor, reason, detail)
VALUES (%(bundle)s, %(release)s, 'rollback', %(actor)s, %(reason)s, %(detail)s)
