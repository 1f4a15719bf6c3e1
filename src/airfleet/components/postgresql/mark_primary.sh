#!/bin/sh
# Patroni runs this when the server of this host stops, starts, or takes another role: ACTION ROLE CLUSTER. MARK is there
# while the server takes writes.
if [ "$1" != on_stop ] && [ "$2" = primary ]; then
  for _ in $(seq "$TIMES"); do
    # shellcheck disable=SC2086 # PSQL is a command with its arguments.
    if [ "$($PSQL -c 'SELECT pg_is_in_recovery()' 2>/dev/null)" = f ]; then
      : > "$MARK"
      exit 0
    fi
    sleep 0.1
  done
fi
rm -f "$MARK"
