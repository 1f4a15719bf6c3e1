-- The statements of breaker_list.py. `%(name)s` is a parameter.

-- name: list
SELECT name, state, generation, changed_at, opened_at, probe_at, wave, waiting, reason, actor
FROM airfleet.breaker ORDER BY name

-- name: events
SELECT breaker, happened_at, state, wave, reason, actor FROM airfleet.breaker_event
WHERE %(name)s::text IS NULL OR breaker = %(name)s ORDER BY id DESC LIMIT %(limit)s
