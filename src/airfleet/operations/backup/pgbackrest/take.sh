#!/bin/sh
# Waits for a backup that is under way, makes a full backup, and lists all backups.
set -e
prepare
checkpoint
for _ in $(seq 1800); do
  code=0; repository backup --type=full || code=$?
  [ "$code" = "$LOCKED" ] || break
  sleep 2
done
[ "$code" = 0 ] || exit "$code"
repository info --output=json
