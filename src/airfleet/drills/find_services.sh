#!/bin/sh
# The first lines of a program that changes services: it sets their names as its arguments. UNITS may have patterns.
set -euf
# shellcheck disable=SC2046,SC2086 # systemd reads the patterns, and no name of a unit has a blank.
set -- $(systemctl list-units --all --plain --no-legend --type=service $UNITS | cut -d ' ' -f 1)
set +f
[ $# != 0 ] || { echo "no such service here: $UNITS" >&2; exit 3; }
