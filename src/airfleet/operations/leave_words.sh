#!/bin/sh
# Leaves WORDS in the file of a command, for the user of the scheduler of this host.
[ -f "$SCHEDULER" ] || exit "$NOT_SET_UP"
set -eu
login=$(sed -n 's/^User=//p' "$SCHEDULER")
# shellcheck disable=SC2174 # Only this folder is made.
mkdir -p -m 700 "$FOLDER"
chown "$login" "$FOLDER"
# All in the folder is the user's, who may give a file any name and put a link anywhere. So root does nothing in it.
setpriv --reuid="$login" --regid="$login" --clear-groups -- sh -c "$KEEP" sh "$FOLDER" "$FILE" <<END
$WORDS
END
