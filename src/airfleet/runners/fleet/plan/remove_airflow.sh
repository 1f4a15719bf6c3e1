#!/bin/sh
# Removes packages of Airflow, unless a process runs from them. Such a process may outlive the unit that started it.
# Because of the brackets, this command does not find itself.
if cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -q "^[/]${OPT#/}/$DIGEST/"; then
  echo "$DRAINING"
else
  # An incomplete folder must not keep its name, because an apply that needs the packages again would use it.
  rm -rf "${OPT:?}"/.gone-*
  if [ -d "$OPT/$DIGEST" ]; then mv -T "$OPT/$DIGEST" "$OPT/.gone-$DIGEST"; fi
  rm -rf "${OPT:?}/.gone-$DIGEST"
fi
