#!/bin/sh
# Sends requests to a host again, and waits until the balancer finds it healthy.
set -e
talk "$READY"
systemctl stop "$TIMER.timer" 2>/dev/null || true
for _ in $(seq "$TIMES"); do
  talk 'show stat' |
    awk -F, -v host="$BEHIND" '$2 == host && $18 !~ /^UP/ { down = 1 } END { exit down }' && exit 0
  sleep 0.2
done
echo "the balancer does not find $BEHIND healthy" >&2; exit 1
