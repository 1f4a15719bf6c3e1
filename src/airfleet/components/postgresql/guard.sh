#!/bin/bash
# Written by airfleet: never two primaries.
own() { "$BIN/pg_controldata" -D "$DATA" | sed -n "s/^Latest checkpoint's TimeLineID: *//p"; }
ask() {
  "$BIN/psql" "host=$1 port=$PORT service=$SERVICE dbname=postgres replication=true connect_timeout=2" \
    -XAtc 'IDENTIFY_SYSTEM' 2>/dev/null | cut -d '|' -f 2
}
is_former() {
  heard=
  for peer in $PEERS; do
    line=$(ask "$peer")
    [ -n "$line" ] || continue
    heard=1
    [ "$line" -gt "$(own)" ] && { by=$peer; return 0; }
  done
  return 1
}
may_begin() {
  [ -f "$DATA/standby.signal" ] && return 0
  is_former && { echo "$by has been promoted: this host may not be a primary; airfleet apply makes it a replica" >&2
    return 1; }
  [ -n "$heard" ] && return 0
  echo "no other database host answers" >&2
  ! grep -qs "^synchronous_standby_names = 'ANY" "$DATA/postgresql.auto.conf"
}
if [ "$1" != watch ]; then
  may_begin || { sleep 2; exit 1; }
  exec "$@"
fi
while sleep "$LOOK_EVERY_S"; do
  [ -f "$DATA/postmaster.pid" ] || continue
  [ ! -f "$DATA/standby.signal" ] || continue
  is_former || continue
  echo "$by has been promoted: no PostgreSQL may run here as a primary"
  pid=$(head -n 1 "$DATA/postmaster.pid")
  # After a loss of power, another program may have the process id in the file.
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = postgres ] && kill -INT "$pid"
done
