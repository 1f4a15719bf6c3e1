#!/bin/sh
# Lets this host's systemd take the fault back by the program BACK, should nobody do so before.
# It is a file, as systemd would replace the variables of a command.
printf %s "$BACK" > "$FILE"
systemd-run --quiet --collect --unit="$TIMER" --on-active="$AFTER_S" --timer-property=AccuracySec=100ms \
  sh "$FILE" "$@"
