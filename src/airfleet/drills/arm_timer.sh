#!/bin/sh
# Lets this host's systemd revert the fault with the program BACK, unless the drill does so before.
# The program is a file, because systemd would expand the variables of a command.
printf %s "$BACK" > "$FILE"
systemd-run --quiet --collect --unit="$TIMER" --on-active="$AFTER_S" --timer-property=AccuracySec=100ms \
  sh "$FILE" "$@"
