#!/bin/sh
# Says what this database host is, and how far it has come.
# shellcheck disable=SC2086 # ASK and AS_SERVER are commands with their arguments.
if systemctl is-active -q airfleet-postgresql; then exec $ASK -c "$QUESTION"; fi
# A server that is stopped says in its control file how far it had come. The server's user may write anything into its
# data, and a version there names a program that runs here: so that user runs it, and not root.
exec $AS_SERVER sh -c "$READ_STOPPED" sh "$DATA"
