#!/bin/sh
# Replaces a file by CONTENT, which is in base64.
set -e
new=$FILE.airfleet-new
mkdir -p "$FOLDER"
require_own "$FOLDER"
umask 077
rm -f "$new"
# With this option, the shell creates a new file (O_EXCL) and follows no link.
set -C
base64 -d > "$new" <<END
$CONTENT
END
chown "$OWNER:$GROUP" "$new"
chmod "$MODE" "$new"
mv -fT "$new" "$FILE"
