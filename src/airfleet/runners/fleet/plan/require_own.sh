#!/bin/sh
# Ends the script unless only root can create or rename files in a folder: require_own FOLDER
# Another user could plant a link there, and root would write to the target of the link, or give it away. In a folder
# with the sticky bit, such as /tmp, nobody else can rename root's files.
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
