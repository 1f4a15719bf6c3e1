#!/bin/sh
# Leaves WORDS in the file of a command, for the user of the scheduler of this host.
[ -f "$SCHEDULER" ] || exit "$NOT_SET_UP"
set -eu
login=$(sed -n 's/^User=//p' "$SCHEDULER")
# shellcheck disable=SC2174 # Only this folder is made.
mkdir -p -m 700 "$FOLDER"
chown "$login" "$FOLDER"
# Words of commands that never began, as the control machine or the connection was lost before, are removed.
find "$FOLDER" -name '*.json' -mmin +1 | while read -r old; do
  unit=${old##*/}
  [ "$(systemctl show -P LoadState "${unit%.json}")" != not-found ] || rm -f "$old"
done
# shellcheck disable=SC2016 # The other shell reads these words.
setpriv --reuid="$login" --clear-groups -- sh -c 'umask 077; cat > "$1"' sh "$FILE" <<END
$WORDS
END
