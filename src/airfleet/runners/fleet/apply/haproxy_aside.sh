#!/bin/sh
# Leads new requests past a host, and waits for those under way. A timer leads them there again should nobody do it.
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
