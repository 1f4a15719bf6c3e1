#!/bin/sh
# shellcheck disable=SC2086 # PGBACKREST and PSQL are commands with their arguments.
cd /
runuser -u postgres -- $PGBACKREST info --output=json
echo
echo "$MARK"
du -sb "$REPOSITORY" | cut -f 1
df -B1 --output=avail "$REPOSITORY" | tail -n 1
date +%s
find "$STATUS" -name '*.ready' 2>/dev/null | wc -l
runuser -u postgres -- $PSQL -c "$AGES" || echo '0|0'
