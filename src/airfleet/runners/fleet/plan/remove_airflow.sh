#!/bin/sh
# Removes packages of Airflow, unless a process runs from there: it may outlive the unit that started it.
# The brackets keep this command itself from being such a process.
if cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -q "^[/]${OPT#/}/$DIGEST/"; then
  echo "$DRAINING"
else
  # A part of the packages must not go by their name: an apply that needs them again would take it for the whole.
  rm -rf "${OPT:?}"/.gone-*
  if [ -d "$OPT/$DIGEST" ]; then mv -T "$OPT/$DIGEST" "$OPT/.gone-$DIGEST"; fi
  rm -rf "${OPT:?}/.gone-$DIGEST"
fi
