#!/bin/sh
# The functions of every program of a restore.
as_server() { runuser -u postgres -- "$@"; }

# Clears the folder in which data is restored. Unfinished data is deleted, and former data of the server is kept.
settle() {
  own=$(head -n 1 "$STATE" 2>/dev/null || true)
  [ -d "$DRAFT" ] || return 0
  pid=$(as_server head -n 1 "$DRAFT/postmaster.pid" 2>/dev/null | tr -dc 0-9)
  if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = postgres ]; then
    as_server kill -QUIT "$pid" && while [ -d "/proc/$pid" ]; do sleep 0.1; done
  fi
  if [ -n "$own" ] && [ "$(as_server cat "$DATA/$MARK" 2>/dev/null)" = "$own" ]; then mv "$DRAFT" "$LIB/$FORMER$own"
  else rm -rf "$DRAFT"; fi
}
