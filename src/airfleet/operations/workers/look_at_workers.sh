#!/bin/sh
# Tells of each pool's worker its process, its state, whether it is to drain, its note and the note's age.
# The notes are the workers' own: they are read with no more rights than theirs, in bounds of size and time, never from
# a pipe, and shown on one line that cannot be taken for another.
as_worker() { timeout -k 1 "$LONGEST_S" runuser -u "$LOGIN" -- "$@" 2>/dev/null; }
now=$(date +%s)
for pool in $POOLS; do
  unit=airfleet-worker-$pool.service note=$NOTES/$pool.json
  written=$(as_worker stat -c %Y "$note" || echo "$now")
  if [ -e "$MARKS/$pool" ]; then drains=1; else drains=0; fi
  echo "$MARK $pool $(systemctl show -P MainPID "$unit") $(systemctl show -P ActiveState "$unit")" \
    "$drains $(( now - written ))"
  printf '%s ' "$NOTE_MARK"
  # shellcheck disable=SC2016 # The other shell reads these words.
  as_worker sh -c '[ -f "$2" ] && head -c "$1" "$2" | tr -d "\n"' sh "$NOTE_BYTES" "$note"
  echo
done
true
