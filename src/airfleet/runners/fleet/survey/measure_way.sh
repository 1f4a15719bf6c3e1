#!/bin/bash
# Prints the microseconds that each of TIMES connections to HOST:PORT takes: a round trip, once the name is known.
# It is a program of bash, which connects and reads the clock by itself.
LC_ALL=C
for _ in $(seq "$TIMES"); do
  begun=${EPOCHREALTIME/./}
  if ! exec 3<>"/dev/tcp/$HOST/$PORT"; then exit 7; fi
  echo $((${EPOCHREALTIME/./} - begun))
  exec 3>&-
done
