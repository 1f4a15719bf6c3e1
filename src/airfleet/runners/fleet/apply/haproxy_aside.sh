#!/bin/sh
# Sends new requests to other hosts, and waits for the present ones. A timer undoes this if the apply has died.
set -e
systemctl stop "$TIMER.timer" 2>/dev/null || true
printf %s "$AGAIN" > "$FOLDER/$TIMER"
systemd-run --quiet --collect --unit="$TIMER" --on-active="$FORGOTTEN_S" sh "$FOLDER/$TIMER"
talk "$DRAIN"
for _ in $(seq "$TIMES"); do
  talk 'show stat' |
    awk -F, -v host="$BEHIND" '$2 == host && $5 > 0 { busy = 1 } END { exit busy }' && exit 0
  sleep 0.2
done
