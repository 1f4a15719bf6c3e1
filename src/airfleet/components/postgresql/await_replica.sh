#!/bin/sh
# Waits at most two minutes until a replica streams from this primary.
found() {
  # shellcheck disable=SC2086 # PSQL is a command with its arguments.
  [ "$($PSQL -c "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")" -gt 0 ]
}
for _ in $(seq 120); do found && break; sleep 1; done
found || { echo "no replica streams from here: a commit would wait for ever" >&2; exit 1; }
