#!/bin/sh
# Makes a whole backup, after one that is being made just now, and lists them all.
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
