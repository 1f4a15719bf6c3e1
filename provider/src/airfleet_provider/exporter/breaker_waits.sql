-- The statement of breaker_waits.py. `%(name)s` is a parameter.

-- name: ends
-- A breaker that was never open has no generation.
SELECT name,
    extract(epoch FROM CASE WHEN state = 'closed' THEN changed_at ELSE clock_timestamp() END)::float8 AS until
FROM airfleet.breaker WHERE name = ANY(%(names)s) AND generation > 0
UNION ALL
-- A limit holds its tasks until somebody sees that none waits.
SELECT name, extract(epoch FROM held_until)::float8 FROM airfleet.service_limit
WHERE name = ANY(%(names)s) AND held_until IS NOT NULL
