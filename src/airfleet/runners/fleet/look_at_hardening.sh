#!/bin/sh
# Prints what of a host decides how hard it is to attack. It reads only.
section modes
# Secrets that users outside the group can read, and files that they can change. Some files of JSON hold no secret.
find /etc/airfleet -xdev -type f \( -name '*.key' -o -name '*.env' -o -name 'airflow.cfg' -o -name '*.json' -o -name '*password*' \) \
  -perm /o+r -printf 'readable %m %p\n' 2>/dev/null | grep -Ev '/(log_servers|log-agent)\.json$|/grafana/boards/'
find /etc/airfleet /var/lib/airfleet /opt/airfleet /etc/systemd/system/airfleet-* -xdev \( -type f -o -type d \) \
  -perm /o+w ! -perm -1000 -printf 'writable %m %p\n' 2>/dev/null | head -n 20
section listeners
ss -ltnpH 2>/dev/null | awk '{print $4, $6}'
section clear
# Where metrics and RabbitMQ's nodes can be reached from other hosts, and a client of TLS is shown no certificate.
ss -ltnH 2>/dev/null | awk '{print $4}' | grep -E ":($PORTS)\$" | grep -vE '^(127\.|\[::1\])' | sort -u |
  while read -r listener; do
    port=${listener##*:}
    address=$(echo "${listener%:*}" | sed -E 's/^(\*|0\.0\.0\.0|\[::\])$/127.0.0.1/')
    timeout 5 openssl s_client -connect "$address:$port" </dev/null 2>/dev/null | grep -q 'BEGIN CERTIFICATE' ||
      echo "$listener"
  done
section units
# One line a unit: its name, and the score of systemd, 0 for what can do nothing and 10 for what can do all.
systemd-analyze security --no-pager 'airfleet-*' 2>/dev/null | awk '$1 ~ /^airfleet-/ {print $1, $2}'
section sudo
grep -rhsE '^[^#]*NOPASSWD:' /etc/sudoers /etc/sudoers.d
section sshd
sshd -T 2>/dev/null | grep -E '^(permitrootlogin|passwordauthentication|permitemptypasswords) '
section passwords
awk -F: '$2 == "" {print "empty", $1}' /etc/shadow 2>/dev/null
section sysctl
for name in fs.protected_hardlinks fs.protected_symlinks fs.suid_dumpable kernel.yama.ptrace_scope net.ipv4.tcp_syncookies; do
  value=$(sysctl -n "$name" 2>/dev/null) && echo "$name $value"
done
true
