#!/bin/sh
# Prints the state of a host. The clock has its own script, because its reading is as exact as the round trip is short.
section system
# shellcheck disable=SC1091,SC2154 # The file sets PRETTY_NAME.
( . /etc/os-release; echo "$PRETTY_NAME" )
section airflow
cat /etc/airfleet/airflow 2>/dev/null
section space
df -Pk / /var /var/lib/airfleet /opt 2>/dev/null | awk 'NR>1 {print $6, $2, $4}' | sort -u
section sync
timedatectl show -P NTPSynchronized 2>/dev/null
section failed
systemctl list-units --plain --no-legend --state=failed 'airfleet-*' | awk '{print $1}'
section certificates
# It has the same certificate for each of its servers; one that was not reached by the last apply may be older.
for file in /etc/airfleet/*/host.pem; do
  [ ! -f "$file" ] || date -d "$(openssl x509 -noout -enddate -in "$file" | cut -d= -f2)" +%s
done
section lease
head -n 4 "$LEASE" 2>/dev/null; date +%s
true
