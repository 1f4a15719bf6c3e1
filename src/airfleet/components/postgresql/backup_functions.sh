#!/bin/sh
# What every program that makes a backup begins with; it runs as the server's user.
# shellcheck disable=SC2086 # PGBACKREST is a command with its arguments.
repository() { $PGBACKREST "$@"; }
# Makes the repository if it is not there. Only the primary does this.
prepare() { [ -f "$REPOSITORY/archive/$STANZA/archive.info" ] || repository stanza-create; }
