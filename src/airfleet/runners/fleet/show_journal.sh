#!/bin/sh
# Shows the journal of COMPONENT, or of all of airfleet's units if that is empty.
# With FOLLOW it also prints new lines, until its standard input ends.
cd "$FOLDER" || exit 1
set --
# shellcheck disable=SC2231 # Without a component it is a pattern.
for unit in airfleet-${COMPONENT:-*}.service; do
  if [ -f "$unit" ]; then set -- "$@" "--unit=$unit"; fi
done
if [ $# = 0 ]; then
  # shellcheck disable=SC2012 # These names have no strange letters.
  ls | sed -n 's/^airfleet-\(.*\)[.]service$/\1/p'
  exit "$NO_SUCH_UNIT"
fi
if [ "$SINCE" ]; then
  journalctl --quiet --no-pager --lines=0 "--since=$SINCE" >/dev/null || exit "$BAD_TIME"
  set -- "--since=$SINCE" "$@"
fi
set -- --quiet --no-pager --output=short-iso "--lines=$LAST" "$@"
[ "$FOLLOW" ] || exec journalctl "$@"
# Without new lines, `journalctl --follow` does not notice that its reader has gone.
journalctl --follow "$@" & cat >/dev/null; kill $!
