#!/bin/sh
# Stops everything on this host that uses the database. A replica is marked to be copied again.
# shellcheck disable=SC2086 # CLIENTS, SERVERS and JOBS are lists of names.
set -eu
systemctl stop airfleet-backup 2>/dev/null || true
if [ "$CLIENTS" ]; then systemctl stop $CLIENTS; fi
if [ -d "$DATA" ]; then
  systemctl disable -q $SERVERS || true
  systemctl stop $SERVERS
  if [ -f "$DATA/standby.signal" ]; then
    runuser -u postgres -- mv -T "$DATA/standby.signal" "$DATA/standby.former"
  fi
fi
cd "$LIB/jobs" 2>/dev/null && rm -f $JOBS; true
