-- The statements of readings.py. `%(name)s` is a parameter.

-- name: now
SELECT clock_timestamp() AS now

-- name: bundle
-- A platform has one bundle whose Dags are releases. If there were several, the last one that was used is shown.
SELECT bundle FROM airfleet.deployment ORDER BY id DESC LIMIT 1
