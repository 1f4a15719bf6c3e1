#!/bin/sh
# Of several database hosts, this one is left: the slots of the others would keep WAL that nobody fetches any more.
if [ -f "$DATA/patroni.dynamic.json" ]; then
  # shellcheck disable=SC2086 # PSQL is a command with its arguments.
  $PSQL -c "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
    WHERE slot_type = 'physical' AND NOT active" >/dev/null
  rm -f "$DATA/patroni.dynamic.json"
fi
