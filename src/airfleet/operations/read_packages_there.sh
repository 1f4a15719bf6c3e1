#!/bin/sh
# Runs the program on standard input with the Python of the packages that a service of Airflow on this host runs from.
set -eu
for unit in /etc/systemd/system/airfleet-api-server.service /etc/systemd/system/airfleet-scheduler.service \
  /etc/systemd/system/airfleet-worker*.service; do
  python=$(sed -n 's/^ExecStart=\([^ ]*\/bin\/python\) .*/\1/p' "$unit" 2>/dev/null | head -n 1)
  if [ -x "$python" ]; then
    cd /
    exec "$python" -P -
  fi
done
exit "$NOT_SET_UP"
