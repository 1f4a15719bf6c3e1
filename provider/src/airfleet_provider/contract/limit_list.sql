-- The statement of limit_list.py.

-- name: list
SELECT l.name, CASE WHEN l.held_until > clock_timestamp() - interval '1 minute' THEN l.waiting ELSE 0 END AS waiting, l.active, l.held_until,
    (SELECT count(*) FROM airfleet.service_grant g WHERE g.limit_name = l.name AND g.outcome <> 'expired'
        AND g.granted_at > clock_timestamp() - interval '1 minute')::int AS starts
FROM airfleet.service_limit l ORDER BY l.name
