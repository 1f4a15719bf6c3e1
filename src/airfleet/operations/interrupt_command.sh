#!/bin/sh
# Sends a signal to a command, and first waits until its unit has a process.
# Without a process, systemd accepts the signal and drops it.
until [ "$(systemctl show -P MainPID "$UNIT")" != 0 ] && systemctl kill "--signal=$SIGNAL" "$UNIT"; do
  [ -e "$WORDS" ] || break
  sleep 0.1
done
