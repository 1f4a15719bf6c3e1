#!/bin/sh
# Takes or renews the lease by the host's own clock, and prints what its last holder left.
# If another command holds the lease, it prints the holder and the time, and exits with TAKEN.
mkdir -p "$(dirname "$LEASE")"; exec 9>"$LEASE.lock"; flock 9
now=$(date +%s) held='' until=0 since='' name='' before=$(head -n 3 "$LEASE" 2>/dev/null)
if [ -f "$LEASE" ]; then
  { read -r held; read -r until; read -r since; read -r name; } < "$LEASE"
fi
if [ "$held" != "$TOKEN" ] && [ "${until:-0}" -gt "$now" ]; then
  printf '%s\n%s\n%s\n' "$name" "$since" $(( until - now )); exit "$TAKEN"
fi
if [ "$held" != "$TOKEN" ] || [ "$until" -le 0 ]; then since=$(date '+%Y-%m-%d %H:%M:%S %Z'); fi
printf '%s\n' "$TOKEN" $(( now + HELD_S )) "$since" "$HOLDER" > "$LEASE.new" && mv "$LEASE.new" "$LEASE"
# shellcheck disable=SC2086 # On one line.
echo $before
