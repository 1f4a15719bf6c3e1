#!/bin/sh
# Says what this database host is, and how far it has come.
# shellcheck disable=SC2086 # ASK is a command with its arguments.
if systemctl is-active -q airfleet-postgresql; then exec $ASK -c "$QUESTION"; fi
# A server that is stopped says in its control file how far it had come.
bin=/usr/lib/postgresql/$(cat "$DATA/PG_VERSION")/bin
LC_ALL=C "$bin/pg_controldata" -D "$DATA" | sed -n "s/^Latest checkpoint's TimeLineID: */line /p
s/^Latest checkpoint location: */at /p; s/^Database cluster state: */state /p"
