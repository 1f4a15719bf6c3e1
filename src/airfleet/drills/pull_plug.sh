#!/bin/sh
# Nothing is synced and nobody is told. The session ends first, so that the script's caller hears of its end.
set -eu
echo 1 > /proc/sys/kernel/sysrq
test -w /proc/sysrq-trigger
nohup sh -c 'sleep 0.3; echo b > /proc/sysrq-trigger' >/dev/null 2>&1 &
