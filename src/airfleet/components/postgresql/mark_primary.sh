#!/bin/sh
# Patroni runs this before it stops the server of this host (ACTION alone), and when the server stops, starts, or takes
# another role (ACTION ROLE CLUSTER). MARK is there while the server takes writes. A promotion may take long: a report on
# a replica can hold up for minutes what the server has yet to replay. Patroni says nothing at its end. Before it runs
# this again, it ends the run that still waits.
if [ "$1" != on_stop ] && [ "$2" = primary ]; then
  # shellcheck disable=SC2086 # PSQL is a command with its arguments.
  until [ "$($PSQL -c 'SELECT pg_is_in_recovery()' 2>/dev/null)" = f ]; do
    sleep 0.1
  done
  : > "$MARK"
  exit 0
fi
rm -f "$MARK"
