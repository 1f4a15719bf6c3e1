#!/bin/sh
# Stops a service for good. The unit file goes last: without it, systemd would not know how to stop the service gently.
# The files by which a job let it start go with it: a host that gets the service again runs the job again.
systemctl disable -q "$UNIT" || true
systemctl stop --no-block "$UNIT" || true
for _ in $(seq "$TIMES"); do
  case "$(systemctl show -P ActiveState "$UNIT")" in inactive|failed)
    sed -n 's|^EnvironmentFile=\(/var/lib/airfleet/.*\)|\1|p' "/etc/systemd/system/$UNIT" 2>/dev/null | xargs -r rm -f
    rm -f "/etc/systemd/system/$UNIT" "/etc/airfleet/units/$UNIT" "/run/airfleet/$UNIT"
    rmdir --ignore-fail-on-non-empty /etc/airfleet/units 2>/dev/null || true
    systemctl daemon-reload; systemctl reset-failed -q "$UNIT" 2>/dev/null || true; exit 0;;
  esac
  sleep 0.2
done
echo "$DRAINING"
