#!/bin/sh
# Prints for each pool the worker's process, its state, its mark to drain, its note and the age of the note.
# Workers, and so tasks, write the notes. So they are read as the workers' user, with limits of size and time, not from
# a pipe, and printed on one line that cannot look like another.
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
