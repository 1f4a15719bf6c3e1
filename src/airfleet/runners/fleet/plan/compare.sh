#!/bin/sh
# Prints the state of the files, folders, units, jobs and users that a host should have.
# Each line of FILES is a digest, `show` or `hide`, and a path. A file that differs is printed if its line has `show`.
section files
compare() {
  [ -f "$3" ] || return 0
  digest=$(sha256sum < "$3"); digest=${digest%% *}
  printf '%s %s %s' "$digest" "$(stat -c '%U %G %a' "$3")" "$3"
  if [ "$digest" != "$1" ] && [ "$2" = show ] && [ "$(stat -c %s "$3")" -lt "$LARGEST_DIFF" ]; then
    printf '\t'; base64 -w0 < "$3"
  fi
  echo
}
printf '%s\n' "$FILES" | while read -r digest how path; do compare "$digest" "$how" "$path"; done
section folders
printf '%s\n' "$FOLDERS" | while read -r path; do
  if [ -d "$path" ]; then echo "- $(stat -c '%U %G %a' "$path") $path"; fi
done
section units
if units=$(cd /etc/systemd/system && ls -d airfleet-*.service 2>/dev/null); then
  # shellcheck disable=SC2086 # A list of names.
  systemctl show -p Id,ActiveState,UnitFileState,NRestarts $units
fi
section started
if cd /run/airfleet 2>/dev/null; then
  # shellcheck disable=SC2046 # On one line.
  for unit in airfleet-*; do [ ! -f "$unit" ] || echo "$unit" $(cat "$unit"); done
fi
section jobs
if cd /var/lib/airfleet/jobs 2>/dev/null; then
  for job in *; do
    # shellcheck disable=SC2046 # On one line.
    case $job in *.log|*.new) ;; *) [ ! -f "$job" ] || echo "$job" $(cat "$job");; esac
  done
fi
section users
# shellcheck disable=SC2086 # A list of names.
getent passwd $USERS | cut -d: -f1
section masked
for unit in $MASKS; do
  if [ "$(readlink "/etc/systemd/system/$unit")" = /dev/null ]; then echo "$unit"; fi
done
section managed
find /etc/airfleet /etc/systemd/system /etc/tmpfiles.d -type f \
  \( -path '/etc/airfleet/*' -o -name 'airfleet-*.service' -o -path /etc/tmpfiles.d/airfleet.conf \) 2>/dev/null
section runtimes
ls -t /opt/airfleet 2>/dev/null
section end
true
