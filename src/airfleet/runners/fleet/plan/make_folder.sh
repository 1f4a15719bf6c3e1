#!/bin/sh
# Creates a folder if needed. It is changed from inside, so that no other folder can take its place meanwhile.
set -e
mkdir -p "$FOLDER"
cd -P "$FOLDER"
( require_own "$PARENT" ) 2>/dev/null || [ ! -L "$FOLDER" ] || {
  echo "error: $FOLDER is a link, and others than root may change $PARENT" >&2; exit 1; }
[ "$(stat -c %d:%i .)" = "$(stat -Lc %d:%i "$FOLDER")" ] || exit 1
chown "$OWNER:$GROUP" .
chmod "$MODE" .
