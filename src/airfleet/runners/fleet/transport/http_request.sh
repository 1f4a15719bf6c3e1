#!/bin/bash
# Fetches a page with HTTP/1.0, which needs only bash. Fails unless the answer has the status STATUS.
set -e
exec 3<>"/dev/tcp/$HOST/$PORT"
printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$PAGE" "$NAME" >&3
read -r _ code _ <&3
test "$code" = "$STATUS"
