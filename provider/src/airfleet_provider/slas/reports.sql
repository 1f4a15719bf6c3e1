-- The statements of reports.py. `%(name)s` is a parameter; one that is NULL selects everything.

-- name: rules
SELECT rules, evaluated_at, now() AS now FROM airfleet.sla_engine

-- name: instances
SELECT * FROM airfleet.sla_instance
WHERE (ended_at IS NULL OR is_alerting OR ended_at > %(ended_after)s)
    AND (%(rule)s::text IS NULL OR rule = %(rule)s) AND (%(dag)s::text IS NULL OR dag_id = %(dag)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY array_position(ARRAY['late', 'at-risk', 'missed', 'due', 'met'], state), due_at, id
LIMIT %(most)s

-- name: report
-- An instance belongs to the time in which it ended, or in which it was due if that was earlier.
SELECT rule, kind, dag_id, task_id, asset,
    count(*) FILTER (WHERE state = 'met') AS met,
    count(*) FILTER (WHERE state = 'missed') AS missed,
    count(*) FILTER (WHERE state = 'missed' AND fulfilled_at IS NULL) AS never,
    max(fulfilled_at - due_at) FILTER (WHERE state = 'missed') AS worst
FROM airfleet.sla_instance
WHERE due_at >= %(since)s AND ended_at IS NOT NULL
    AND least(due_at, ended_at) >= %(since)s AND least(due_at, ended_at) < %(until)s
    AND (%(rule)s::text IS NULL OR rule = %(rule)s) AND (%(dag)s::text IS NULL OR dag_id = %(dag)s)
GROUP BY rule, kind, dag_id, task_id, asset
ORDER BY rule, kind, dag_id, task_id, asset

-- name: history
SELECT * FROM airfleet.sla_instance
WHERE rule = %(rule)s AND (%(dag)s::text IS NULL OR dag_id = %(dag)s)
ORDER BY due_at DESC, id DESC LIMIT %(most)s
