#!/bin/sh
# Starts its arguments. A database waits for the other one's host, and so its first tries may fail.
for pause in 5 10 20; do
  systemctl start "$@" && exit 0
  sleep "$pause"
done
systemctl start "$@"
