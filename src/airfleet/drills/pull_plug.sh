#!/bin/sh
# The host stops without a sync. The session ends first, so that the caller of the script notices its end.
set -eu
echo 1 > /proc/sys/kernel/sysrq
test -w /proc/sysrq-trigger
nohup sh -c 'sleep 0.3; echo b > /proc/sysrq-trigger' >/dev/null 2>&1 &
