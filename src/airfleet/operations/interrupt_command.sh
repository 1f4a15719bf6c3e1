#!/bin/sh
# Gives a signal to a command, also to one whose unit is only about to start.
# systemd takes a signal for a unit without a process, and nobody gets it.
until [ "$(systemctl show -P MainPID "$UNIT")" != 0 ] && systemctl kill "--signal=$SIGNAL" "$UNIT"; do
  [ -e "$WORDS" ] || break
  sleep 0.1
done
