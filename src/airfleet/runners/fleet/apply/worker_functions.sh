#!/bin/sh
# The functions of a program that checks workers.
# Prints a worker's invocation, its state, and `said` if its note names its present process: look UNIT NOTE
look() {
  pid=$(systemctl show -P MainPID "$1")
  echo "$(systemctl show -P InvocationID "$1") $(systemctl show -P ActiveState "$1")" \
    "$(runuser -u "$LOGIN" -- timeout "$NOTE_S" head -c "$NOTE_BYTES" "$2" 2>/dev/null |
      grep -q '"pid": '"$pid"'[,}]' && echo said)"
}
# Prints NAME if the worker runs from an earlier unit, or does not serve its queues yet: tell_behind NAME UNIT NOTE
tell_behind() {
  name=$1 unit=$2
  # shellcheck disable=SC2046 # Each word is one argument.
  set -- $(look "$2" "$3")
  if ! cmp -s "/etc/airfleet/units/$unit" "/run/airfleet/$unit" || [ "${2-} ${3-}" != 'active said' ]; then
    echo "$name"
  fi
}
