#!/bin/bash
# Written by airfleet: makes a backup whenever this host is the primary and its newest backup is too old.
# shellcheck disable=SC2086 # PSQL and METADATA_PSQL are commands with their arguments.
is_replica() { $PSQL -c 'SELECT pg_is_in_recovery()' 2>/dev/null; }
newest() { repository info --output=json | grep -o '"stop":[0-9]*' | tr -dc '0-9\n' | sort -n | tail -n 1; }
is_due() {
  # This archive lacks the WAL of the time when another host was the primary.
  [ -f "$PROMOTED" ] && return 0
  last=$(newest); [ $(( $(date +%s) - ${last:-0} )) -ge "$EVERY_S" ]
}
# shellcheck disable=SC2086 # PGBACKREST is a command with its arguments.
make() { checkpoint && nice $PGBACKREST backup --type=full && rm -f "$PROMOTED" && echo "made a backup"; }
# The exporter of metrics shows when the last backup ended. Without this row, everything else works.
# shellcheck disable=SC2086
note() {
  last=$(newest)
  [ -z "$last" ] || $METADATA_PSQL -c "
    INSERT INTO airfleet.job AS kept (name, fingerprint, ended_at) VALUES ('$JOB', '', to_timestamp($last))
    ON CONFLICT (name) DO UPDATE SET ended_at = excluded.ended_at WHERE kept.ended_at <> excluded.ended_at
  " > /dev/null 2>&1
}
pause=$LOOK_EVERY_S
while :; do
  case "$(is_replica)" in
    t) : > "$PROMOTED";;
    f) prepare
      note
      if ! is_due || make; then
        pause=$LOOK_EVERY_S
      else
        pause=$(( pause * 2 < LONGEST_PAUSE_S ? pause * 2 : LONGEST_PAUSE_S ))
      fi;;
  esac
  sleep "$pause"
done
