#!/bin/sh
set -eu
if test -f "$DATA/standby.signal"; then
  echo "a replica is here: airfleet failover --database makes it the primary" >&2; exit 1
fi
test -f "$DATA/PG_VERSION" && exit 0
find "$DATA" -mindepth 1 -delete
"$BIN/initdb" --auth-local=peer --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 -D "$DATA/new"
# PG_VERSION marks the folder as complete, so it is moved last.
find "$DATA/new" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$DATA" {} +
mv "$DATA/new/PG_VERSION" "$DATA/"
rmdir "$DATA/new"
