#!/bin/sh
# Lets another database host take over from this one, if this one is the primary. ASK is a command with its arguments.
is_primary() { sh -c "$ASK" >/dev/null 2>&1; }
is_primary || exit 0
for _ in $(seq "$TIMES"); do
  "$CONTROL" switchover --leader "$NAME" --force >/dev/null 2>&1 && ! is_primary && exit "$DONE"
  sleep 2
done
is_primary && exit 1
exit "$DONE"
