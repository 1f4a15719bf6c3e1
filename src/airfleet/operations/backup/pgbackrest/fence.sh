#!/bin/sh
# Stops what reads or writes the database on this host. A replica is told that it has to be copied anew.
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
