-- The statements of scheduler_handover.py. `%(name)s` is a parameter.

-- name: exists
SELECT to_regclass('airfleet.lease') IS NOT NULL AS found

-- name: seats
SELECT seat.name, seat.host, seat.state, seat.holder = lease.holder AS active
FROM airfleet.seat, airfleet.lease
WHERE lease.name = 'scheduler' AND seat.seen_at > clock_timestamp() - make_interval(secs => %(alive)s)
ORDER BY seat.name

-- name: request
UPDATE airfleet.lease SET requested = epoch WHERE name = 'scheduler' AND holder <> ''
RETURNING epoch, clock_timestamp() AS at, pg_notify(%(channel)s, 'requested')

-- name: progress
SELECT new.epoch, new.seat,
    extract(epoch FROM old.ended_at - %(at)s)::float AS stopped,
    extract(epoch FROM new.taken_at - %(at)s)::float AS taken,
    extract(epoch FROM new.began_at - %(at)s)::float AS began,
    extract(epoch FROM (SELECT min(start_date) FROM job
        WHERE job_type = 'SchedulerJob' AND state = 'running' AND start_date >= new.began_at) - %(at)s)::float AS works
FROM airfleet.tenure new, airfleet.tenure old
WHERE old.epoch = %(epoch)s AND new.epoch > old.epoch ORDER BY new.epoch DESC LIMIT 1
