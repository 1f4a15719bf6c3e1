#!/bin/sh
# What a program begins with that does something to services: their names become its arguments. UNITS has patterns too.
set -euf
# shellcheck disable=SC2046,SC2086 # systemd reads the patterns, and no name of a unit has a blank.
set -- $(systemctl list-units --all --plain --no-legend --type=service $UNITS | cut -d ' ' -f 1)
set +f
[ $# != 0 ] || { echo "no such service here: $UNITS" >&2; exit 3; }
