#!/bin/sh
# Ends the lease now, if TOKEN still holds it.
exec 9>"$LEASE.lock"; flock 9
read -r held < "$LEASE"
[ "$held" = "$TOKEN" ] || exit 0
printf '%s\n' "$TOKEN" 0 "$(date +%s.%N)" '""' > "$LEASE.new" && mv "$LEASE.new" "$LEASE"
