#!/bin/sh
# Stops everything on this host that uses the database. The data of a REPLICA is put aside, so that it copies the primary
# again.
# shellcheck disable=SC2086 # CLIENTS, SERVERS and JOBS are lists of names.
set -eu
systemctl stop airfleet-backup 2>/dev/null || true
if [ "$CLIENTS" ]; then systemctl stop $CLIENTS; fi
if [ -d "$DATA" ]; then
  systemctl disable -q $SERVERS || true
  systemctl stop $SERVERS
  if [ "$REPLICA" ] && [ -f "$DATA/PG_VERSION" ]; then
    rm -rf "$DATA.former"
    mv -T "$DATA" "$DATA.former"
    install -d -o postgres -g postgres -m 700 "$DATA"
  fi
fi
cd "$LIB/jobs" 2>/dev/null && rm -f $JOBS; true
