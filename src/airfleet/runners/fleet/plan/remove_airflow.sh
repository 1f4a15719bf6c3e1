#!/bin/sh
# Removes packages of Airflow, unless a process runs from them. Such a process may outlive the unit that started it.
# shellcheck disable=SC2086 # FILES are several.
if list_running | grep -qx "$DIGEST"; then
  echo "$DRAINING"
else
  # Their configuration goes first, because what a kill leaves is found by the packages.
  rm -rf "${ETC:?}"/*/"$DIGEST" $FILES
  # An incomplete folder must not keep its name, because an apply that needs the packages again would use it.
  rm -rf "${OPT:?}"/.gone-*
  if [ -d "$OPT/$DIGEST" ]; then mv -T "$OPT/$DIGEST" "$OPT/.gone-$DIGEST"; fi
  rm -rf "${OPT:?}/.gone-$DIGEST"
fi
