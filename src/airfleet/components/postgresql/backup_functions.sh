#!/bin/sh
# The functions of every program that makes a backup. They run as the server's user.
# shellcheck disable=SC2086 # PGBACKREST and PSQL are commands with their arguments.
repository() { $PGBACKREST "$@"; }
# Makes the repository if it is not there. Only the primary does this.
prepare() { [ -f "$REPOSITORY/archive/$STANZA/archive.info" ] || repository stanza-create; }
# pgBackRest refuses a backup after a promotion until the server has written a checkpoint on its new timeline.
# shellcheck disable=SC2086
checkpoint() { $PSQL -c CHECKPOINT > /dev/null; }
