#!/bin/sh
install -d -o postgres -g postgres -m 700 "$DRAFT"
if [ "$MOMENT" ]; then set -- --type=time --target="$MOMENT" --target-action=promote; else set -- --type=default; fi
# shellcheck disable=SC2086 # PGBACKREST is a command with its arguments.
as_server $PGBACKREST restore --pg1-path="$DRAFT" --set="$BACKUP" "$@"
