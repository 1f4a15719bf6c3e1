#!/bin/sh
# Ends the script unless nobody but root can put anything into a folder, or rename it away: require_own FOLDER
# Whoever can do that may plant a link, and root would write, or give away, what the link leads to. In a folder with the
# sticky bit, such as /tmp, nobody can rename what is root's.
require_own() {
  above=$1
  set -- "$1"
  while [ "$above" != / ]; do above=${above%/*}; above=${above:-/}; set -- "$@" "$above"; done
  if bad=$(find -L "$@" -maxdepth 0 \
    \( ! -user root -o -perm /002 ! -perm -1000 -o -perm /020 ! -perm -1000 ! -group root \) 2>&1) && [ -z "$bad" ]
  then :; else
    echo "error: others than root may change this folder, so root writes nothing there: $bad" >&2; exit 1
  fi
}
