#!/bin/sh
# Keeps the words of a command, from standard input, in the file $2.
umask 077
# Words of commands that never began, as the control machine or the connection was lost before, go from the folder $1.
find "$1" -name '*.json' -mmin +1 | while read -r old; do
  unit=${old##*/}
  [ "$(systemctl show -P LoadState "${unit%.json}")" != not-found ] || rm -f "$old"
done
cat > "$2"
