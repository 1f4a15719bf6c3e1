#!/bin/bash
# Runs the command in its arguments, PgBouncer, while the server of this host takes writes: as long as MARK is there and
# the server listens. Clients know every database host. Where nobody listens, they try the next one at once; a PgBouncer
# whose server is away or only reads would keep them waiting, or refuse them for good.
pid=
end() {
  [ -z "$pid" ] || kill -INT "$pid"
  wait
  exit 0
}
trap end INT TERM
trap '[ -z "$pid" ] || kill -HUP "$pid"' HUP
looks=0
is_open=
# It looks at the mark each time, and at the port once in five times, as each look costs the server a process.
does_serve() {
  if [ ! -e "$MARK" ]; then
    looks=0
    return 1
  fi
  if [ $(( looks++ % 5 )) -eq 0 ]; then
    is_open=
    (exec 3<> "/dev/tcp/127.0.0.1/$PORT") 2>/dev/null && is_open=yes
  fi
  [ "$is_open" ]
}
# A pipe into which nobody writes: a wait for it is one that a signal ends, and that needs no process.
exec {never}<> <(:)
while :; do
  if does_serve; then
    if [ -z "$pid" ] || ! kill -0 "$pid" 2>/dev/null; then
      "$@" &
      pid=$!
    fi
  elif [ -n "$pid" ]; then
    # PgBouncer 1.23 and newer wait at the first SIGTERM until every client has gone, and their clients wait for a server.
    # At the second one they end.
    while kill "$pid" 2>/dev/null; do
      read -rt 0.1 -u "$never"
    done
    wait "$pid"
    pid=
  fi
  read -rt "$PAUSE_S" -u "$never"
done
