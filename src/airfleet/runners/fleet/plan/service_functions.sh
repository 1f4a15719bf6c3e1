#!/bin/sh
# The functions of a program that waits for the service UNIT.
tell() {
  # shellcheck disable=SC2046 # On one line.
  echo "error: $UNIT is not healthy:" $(systemctl show -P ActiveState,SubState,Result "$UNIT") >&2
  echo "$UNHEALTHY" >&2
  journalctl -q -n 8 --no-pager -o cat -u "$UNIT" >&2
}
tell_crashes() {
  echo "error: $UNIT ends and is started again and again" >&2
  tell; exit 1
}
# Ends the script once systemd has started the service CRASHES times since `base` was read.
end_if_it_crashes() {
  count=$(systemctl show -P NRestarts "$UNIT")
  # systemd resets its count at a manual start, so a lower count than before becomes the new base.
  [ "$count" -ge "$base" ] || base=$count
  if [ $(( count - base )) -ge "$CRASHES" ]; then tell_crashes; fi
}
