#!/bin/sh
# Runs SQL where the server takes writes; elsewhere it waits until what the SQL did has come here.
# shellcheck disable=SC2086 # PSQL is a command with its arguments.
ask() { $PSQL -c "$1" 2>/dev/null || true; }
# shellcheck disable=SC2086
write() { printf '%s\n' "$SQL" | $PSQL; }
is_done() { [ "$(ask "SELECT count(*) FROM pg_shdescription WHERE description = '$MARK'")" = 1 ]; }
failures=0
for _ in $(seq "$TIMES"); do
  case "$(ask 'SELECT pg_is_in_recovery()')" in
    f) write && exit 0
      failures=$(( failures + 1 ))
      [ "$failures" -lt 10 ] || exit 1;;
    t) is_done && exit 0;;
  esac
  sleep 1
done
echo "no database host takes writes, or this one does not follow it: airfleet status" >&2
exit 1
