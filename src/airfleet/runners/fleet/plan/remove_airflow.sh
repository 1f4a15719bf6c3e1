#!/bin/sh
# Removes packages of Airflow, unless a process runs from there: it may outlive the unit that started it.
# The brackets keep this command itself from being such a process.
if cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -q "^[/]${OPT#/}/$DIGEST/"; then
  echo "$DRAINING"
else
  rm -rf "${OPT:?}/$DIGEST"
fi
