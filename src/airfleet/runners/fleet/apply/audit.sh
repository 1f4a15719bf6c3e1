#!/bin/sh
# Runs steps, each of which is a function, and adds a line to the audit log of this host for each of them.
ended() {
  mkdir -p /var/log/airfleet
  if [ "$1" = 0 ]; then how='done'; else how=failed; fi
  echo "$(date -Is) $WHO $how: $2" >> /var/log/airfleet/audit.log
  [ "$1" = 0 ] || exit "$1"
}
# Runs a step, and ends the script if the step fails: run STEP TEXT
run() { ( set -e; "$1" ); ended $? "$2"; }
# Starts a step in parallel to others: run_beside STEP TEXT
run_beside() { ( run "$1" "$2" ) & pids="$pids $!"; }
pids=
# Waits for all of them, even after a failure. Then it ends the script.
wait_for_all() {
  failed=0
  for pid in $pids; do wait "$pid" || failed=1; done
  exit "$failed"
}
