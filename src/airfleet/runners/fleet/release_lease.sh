#!/bin/sh
# Lets the lease run out now, if it is still the one of TOKEN.
exec 9>"$LEASE.lock"; flock 9
read -r held < "$LEASE"
[ "$held" = "$TOKEN" ] || exit 0
printf '%s\n' "$TOKEN" 0 "$(date +%s.%N)" '""' > "$LEASE.new" && mv "$LEASE.new" "$LEASE"
