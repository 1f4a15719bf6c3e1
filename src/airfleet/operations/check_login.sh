#!/bin/sh
# Runs the self-test of logins as the user of the api-server, in its packages. The question comes through standard input.
set -eu
python=$(sed -n 's/^ExecStart=\([^ ]*\/bin\/python\) .*/\1/p' "$UNIT" 2>/dev/null | head -n 1)
[ -x "$python" ] || exit "$NOT_SET_UP"
login=$(sed -n 's/^User=//p' "$UNIT")
cd /
exec setpriv --reuid="$login" --regid="$login" --init-groups -- "$python" -P -m "$PROGRAM"
