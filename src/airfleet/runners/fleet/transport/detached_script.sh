#!/bin/sh
# Runs the function `work` to its end, even if the reader of its output has gone. First waits for an earlier one.
exec 9>>"$RUN.lock"
flock -w "$WAIT_S" 9 || { echo "what an earlier apply began still runs there" >&2; exit "$BUSY"; }
rm -f "$RUN.out" "$RUN.err"; (umask 077; : > "$RUN.out"; : > "$RUN.err")
( work ) >>"$RUN.out" 2>>"$RUN.err" 9>&-
code=$?
cat "$RUN.out"; cat "$RUN.err" >&2
exit $code
