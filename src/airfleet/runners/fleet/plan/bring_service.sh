#!/bin/sh
# Enables a service, starts, restarts or reloads it, and waits until it is healthy, as the function `is_healthy` says.
set -e
systemctl enable -q "$UNIT"
systemctl reset-failed "$UNIT" 2>/dev/null || true
# shellcheck disable=SC2086 # OPTIONS is a list.
systemctl $OPTIONS "$VERB" "$UNIT" || { tell; exit 1; }
# shellcheck disable=SC2034 # end_if_it_crashes compares with base.
end=$(( $(date +%s) + WAIT_S )) base=$(systemctl show -P NRestarts "$UNIT")
until is_healthy && cmp -s "/etc/airfleet/units/$UNIT" "/run/airfleet/$UNIT"; do
  if [ "$DRAINS" ] && [ $(( end - $(date +%s) )) -lt $(( WAIT_S > 20 ? WAIT_S - 20 : 0 )) ]; then
    case "$(systemctl show -P ActiveState "$UNIT")" in deactivating) echo "$DRAINING"; exit 0;; esac
  fi
  if [ "$(date +%s)" -ge "$end" ]; then tell; exit 1; fi
  if [ "$MAY_CRASH" ]; then end_if_it_crashes; fi
  sleep 0.2
done
