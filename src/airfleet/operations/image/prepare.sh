#!/bin/sh
# Prepares a machine, or the root file system that it runs in, for a fleet. `airfleet image` wrote the folder around it.
# It needs root, and starts and enables nothing. Run it again after an interruption at any line.
set -eu
umask 022
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || { echo "prepare.sh: it takes root" >&2; exit 1; }
policy=/usr/sbin/policy-rc.d
if [ ! -d /run/systemd/system ]; then
  # Without systemd, the scripts of packages would start their services themselves.
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
fi
for step in steps/*.sh; do
  input=/dev/null
  [ ! -e "${step%.sh}.input" ] || input=${step%.sh}.input
  sed -n '1s/^# /prepare.sh: /p' "$step"
  sh "$step" < "$input" || { echo "prepare.sh: $step failed" >&2; exit 1; }
done
[ -d /run/systemd/system ] || rm -f "$policy"
install -D -m 644 image.json /usr/lib/airfleet/image.json
