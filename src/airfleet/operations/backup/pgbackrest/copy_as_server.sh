#!/bin/sh
set -eu; umask 077
cp -a --reflink=auto "$SOURCE/." "$DRAFT"
rm -f "$DRAFT/postmaster.pid" "$DRAFT/$MARK"
printf %s "$SETTINGS" >> "$DRAFT/postgresql.auto.conf"
: > "$DRAFT/recovery.signal"
