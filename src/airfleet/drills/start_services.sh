#!/bin/sh
# Starts the services in its arguments. A database waits for the host of the other one, so its first starts may fail.
for pause in 5 10 20; do
  systemctl start "$@" && exit 0
  sleep "$pause"
done
systemctl start "$@"
