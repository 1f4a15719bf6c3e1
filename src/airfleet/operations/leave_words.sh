#!/bin/sh
# Writes WORDS, the arguments of a command, to its file, for the user of this host's scheduler.
[ -f "$SCHEDULER" ] || exit "$NOT_SET_UP"
set -eu
login=$(sed -n 's/^User=//p' "$SCHEDULER")
# shellcheck disable=SC2174 # Only this folder is made.
mkdir -p -m 700 "$FOLDER"
chown "$login" "$FOLDER"
# The folder belongs to that user, who can create any name and any link in it. So root does nothing in it.
setpriv --reuid="$login" --regid="$login" --clear-groups -- sh -c "$KEEP" sh "$FOLDER" "$FILE" <<END
$WORDS
END
