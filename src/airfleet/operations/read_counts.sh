#!/bin/sh
# Prints every one of FILES that is in a folder, at most MOST_BYTES of it, each after a line that names it.
cd "$FOLDER" 2>/dev/null || exit 0
for file in $FILES; do
  [ -f "$file" ] || continue
  echo; echo "$MARK $file"; head -c "$MOST_BYTES" "$file"
done
