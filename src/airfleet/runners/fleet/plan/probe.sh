#!/bin/sh
# Prints the facts of a machine, and resolves its address of fleet.yaml there. Every Debian has these programs.
section clock
date +%s
section os
# shellcheck disable=SC1091,SC2154 # The file sets ID and VERSION_ID.
( [ -r /etc/os-release ] && . /etc/os-release; echo "$ID"; echo "$VERSION_ID" )
section arch
uname -m
section cpus
nproc
section memory
awk '/^MemTotal/ {print $2}' /proc/meminfo
section init
cat /proc/1/comm
section addresses
( ip -o addr show 2>/dev/null | awk '{sub("/.*","",$4); print $4}' ) || hostname -I
section links
ip -o -4 addr show 2>/dev/null | awk '{print $2, $4}'
section ssh
( sshd -T 2>/dev/null || /usr/sbin/sshd -T 2>/dev/null ) | awk '/^port /{print $2}'
section space
df -Pk / /opt /var /usr 2>/dev/null | awk 'NR>1 {print $6, $4}' | sort -u
section packages
# shellcheck disable=SC2016 # dpkg-query replaces these.
dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 2>/dev/null | sed -n 's/^ii *//p'
section listeners
ss -Hltnp 2>/dev/null | while read -r _ _ _ at _ who; do
  pid=${who#*pid=}; pid=${pid%%,*}
  if grep -qs airfleet- "/proc/$pid/cgroup"; then echo "$at ours $who"; else echo "$at other $who"; fi
done
section boot
cat /proc/sys/kernel/random/boot_id
section owner
cat /etc/airfleet/owner 2>/dev/null
section airflow
cat /etc/airfleet/airflow 2>/dev/null
section wireguard
# In a container, /sys may show other interfaces than those of the container.
if [ -e /sys/module/wireguard ] || ip link show dev "$TUNNEL" >/dev/null 2>&1 || modprobe -nq wireguard 2>/dev/null; then
  echo yes
fi
section tunnel
ip -o -4 address show dev "$TUNNEL" 2>/dev/null | awk '{print $4}'
section lease
head -n 3 /var/lib/airfleet/lease 2>/dev/null
section named
getent ahostsv4 "$ADDRESS" | cut -d ' ' -f 1
true
