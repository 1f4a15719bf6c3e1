#!/bin/sh
# Prints the control file of the data folder $1.
bin=/usr/lib/postgresql/$(cat "$1/PG_VERSION")/bin
LC_ALL=C "$bin/pg_controldata" -D "$1" | sed -n "s/^Latest checkpoint's TimeLineID: */line /p
s/^Latest checkpoint location: */at /p; s/^Database cluster state: */state /p"
