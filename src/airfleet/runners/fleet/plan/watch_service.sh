#!/bin/sh
# A service without a health check is healthy when one process of it has run for STEADY_S seconds.
pid=$(systemctl show -P MainPID "$UNIT") since=$(date +%s)
while [ $(( $(date +%s) - since )) -lt "$STEADY_S" ]; do
  sleep 0.5
  now=$(systemctl show -P MainPID "$UNIT")
  if [ "$now" = 0 ] || [ "$now" != "$pid" ]; then pid=$now since=$(date +%s); fi
  # The program before this one says how long to wait at most.
  # shellcheck disable=SC2154
  if [ "$(date +%s)" -ge "$end" ]; then tell_crashes; fi
  end_if_it_crashes
done
