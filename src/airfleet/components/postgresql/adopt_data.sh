#!/bin/sh
# Lets Patroni start: its unit needs the file ADOPTED. Patroni has run here when its own file lies in the data. Before
# that, the data is taken over only while it is in use. A host that lost the role and has it again has old data.
leads() { "$CONTROL" list 2>/dev/null | grep -q Leader; }
await_leader() {
  for _ in $(seq "$TIMES"); do
    ! leads || return 0
    sleep 1
  done
  leads
}
adopt() { echo "# airfleet: Patroni may start here" > "$ADOPTED"; exit 0; }
[ -f "$DATA/PG_VERSION" ] || adopt
state=$(systemctl is-active airfleet-postgresql.service || true)
if [ -f "$DATA/patroni.dynamic.json" ]; then
  if [ -f "$ADOPTED" ] || [ "$state" = active ] || await_leader; then adopt; fi
  echo "Patroni ran here before this host lost its role, and no database host is the primary now: that comes first" >&2
  echo "if this is the newest data: touch $ADOPTED; then apply again" >&2
  exit 1
fi
rm -f "$ADOPTED"
if [ "$state" != active ]; then
  echo "PostgreSQL here is $state: its data may be that of a former primary, and is not taken over" >&2
  echo "if this is the newest data: echo {} | runuser -u postgres -- tee $DATA/patroni.dynamic.json" >&2
  echo "if another database host has all that is needed: remove $DATA; then apply again" >&2
  exit 1
fi
# Without a leader, Patroni would promote a replica beside a primary that it does not know.
if [ -f "$DATA/standby.signal" ]; then
  if ! await_leader; then
    echo "a replica is here, and Patroni leads no primary yet: it has to take over the primary's host first" >&2
    exit 1
  fi
fi
# What earlier versions had the server note itself would win over what Patroni says.
runuser -u postgres -- sed -i '/^primary_conninfo/d; /^synchronous_standby_names/d' "$DATA/postgresql.auto.conf"
adopt
