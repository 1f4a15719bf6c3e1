#!/bin/sh
# Prints the condition of this database host, and its position.
# shellcheck disable=SC2086 # ASK and AS_SERVER are commands with their arguments.
if systemctl is-active -q airfleet-postgresql; then exec $ASK -c "$QUESTION"; fi
# The control file of a stopped server has its position. The server's user can write anything to its data, and the
# version in it selects the program that reads the file. So that user runs the program, and not root.
exec $AS_SERVER sh -c "$READ_STOPPED" sh "$DATA"
