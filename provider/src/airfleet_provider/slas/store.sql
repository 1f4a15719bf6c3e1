-- The statements of store.py. `%(name)s` is a parameter.

-- name: insert
INSERT INTO airfleet.sla_instance (rule, kind, dag_id, task_id, asset, occasion, run_id, state, starts_at, due_at,
    changed_at, expected_at, reason, fulfilled_at, ended_at, is_alerting)
VALUES (%(rule)s, %(kind)s, %(dag_id)s, %(task_id)s, %(asset)s, %(occasion)s, %(run_id)s, %(state)s, %(starts_at)s,
    %(due_at)s, %(changed_at)s, %(expected_at)s, %(reason)s, %(fulfilled_at)s, %(ended_at)s, %(is_alerting)s)
ON CONFLICT (rule, kind, dag_id, task_id, asset, occasion) DO NOTHING
RETURNING id

-- name: update
-- An instance that has ended keeps its end; only its alert may still end. A rule that was changed moves the deadline.
UPDATE airfleet.sla_instance SET run_id = %(run_id)s, state = %(state)s, changed_at = %(changed_at)s,
    starts_at = %(starts_at)s, due_at = %(due_at)s,
    expected_at = %(expected_at)s, reason = %(reason)s, fulfilled_at = %(fulfilled_at)s, ended_at = %(ended_at)s,
    is_alerting = %(is_alerting)s
WHERE rule = %(rule)s AND kind = %(kind)s AND dag_id = %(dag_id)s AND task_id = %(task_id)s AND asset = %(asset)s
    AND occasion = %(occasion)s AND (ended_at IS NULL OR ended_at = %(ended_at)s)

-- name: withdraw
DELETE FROM airfleet.sla_instance
WHERE rule = %(rule)s AND kind = %(kind)s AND dag_id = %(dag_id)s AND task_id = %(task_id)s AND asset = %(asset)s
    AND occasion = %(occasion)s AND ended_at IS NULL

-- name: advance
INSERT INTO airfleet.sla_engine (evaluated_at, last_run, rules)
VALUES (%(now)s, %(last)s, %(rules)s::jsonb)
ON CONFLICT (id) DO UPDATE SET evaluated_at = excluded.evaluated_at, last_run = excluded.last_run,
    rules = excluded.rules

-- name: learn
INSERT INTO airfleet.sla_profile (dag_id, samples) VALUES (%(dag)s, %(samples)s::jsonb)
ON CONFLICT (dag_id) DO UPDATE SET samples = excluded.samples, learned_at = clock_timestamp()

-- name: prune
DELETE FROM airfleet.sla_instance WHERE id IN (
    SELECT id FROM airfleet.sla_instance WHERE ended_at < %(before)s AND NOT is_alerting LIMIT 1000
)
