#!/bin/sh
# Recovers the unpacked data with a server that no other process can reach, and exchanges it with the present data.
set -eu; cd /
wal=$DATA/pg_wal
for file in "$wal"/*; do
  name=${file##*/}
  case $name in *[!0-9A-F]*) continue;; esac
  if [ ${#name} = 24 ] && [ ! -f "$wal/archive_status/$name.done" ]; then
    as_server cp -np "$file" "$DRAFT/pg_wal/"
  fi
done
: > "$LOG"; chown postgres: "$LOG"; chmod 600 "$LOG"
# shellcheck disable=SC2086 # PSQL is a command with its arguments.
ask() { as_server $PSQL "$@"; }
control() { as_server "$BIN/pg_ctl" -D "$DRAFT" -s -w -t "$RECOVER_S" "$@"; }
failed() {
  control stop -m immediate 2>/dev/null || true
  grep FATAL: "$LOG" | grep -v 'not accepting connections\|starting up' | tail -n 1 >&2
  exit 1
}
control start -l "$LOG" -o "$OPTIONS" || failed
until [ "$(ask -c 'SELECT pg_is_in_recovery()' 2>/dev/null)" = f ]; do
  as_server "$BIN/pg_ctl" -D "$DRAFT" status >/dev/null || failed
  sleep 0.2
done
ask -c 'SELECT extract(epoch FROM coalesce(pg_last_xact_replay_timestamp(), clock_timestamp()))'
set --
for setting in $SETTINGS; do set -- "$@" -c "ALTER SYSTEM RESET $setting"; done
ask "$@"
control stop -m fast
# shellcheck disable=SC2016 # The other shell reads these words.
as_server sh -c 'printf %s "$1" > "$2"' sh "$RESTORE" "$DRAFT/$MARK"
sync -f "$DRAFT"
"$PYTHON" -c "$EXCHANGE" "$DRAFT" "$DATA"
mv "$DRAFT" "$LIB/$FORMER$RESTORE"
sync -f "$LIB"
