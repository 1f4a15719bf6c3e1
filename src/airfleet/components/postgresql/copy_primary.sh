#!/bin/sh
# Makes this host a replica. The copy is complete before any data is moved.
set -eu
test -f "$DATA/standby.signal" && exit 0
rm -rf "$DATA.new"
install -d -o postgres -g postgres -m 700 "$DATA.new"
export PGSERVICEFILE="$LOGIN"
runuser -u postgres -- "$BIN/pg_basebackup" -d "$SOURCE" -D "$DATA.new" -X stream -c fast
# The configuration names the source of the replica. A setting of the copied server would override it.
runuser -u postgres -- sed -i '/^primary_conninfo/d' "$DATA.new/postgresql.auto.conf"
runuser -u postgres -- install -m 600 /dev/null "$DATA.new/standby.signal"
state=$(systemctl is-active airfleet-postgresql.service || true)
systemctl stop airfleet-postgresql.service 2>/dev/null || true
if test -f "$DATA/PG_VERSION"; then rm -rf "$DATA.former"; mv "$DATA" "$DATA.former"; fi
rm -rf "$DATA"
mv "$DATA.new" "$DATA"
# A former primary restarts again and again. At the survey of `apply` it was not a service to start.
case "$state" in active|activating) systemctl start airfleet-postgresql.service;; esac
