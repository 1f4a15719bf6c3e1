#!/bin/sh
# Runs a command of Airflow in a unit with the user, the environment and the packages of the installed scheduler.
# OPTIONS are systemd-run's, one on a line.
runtime=$(sed -n "s|^ExecStart=$OPT/\\([^/]*\\)/.*|\\1|p" "$SCHEDULER")
set --
while IFS= read -r line; do
  case $line in User=*|Environment=*|EnvironmentFile=*) set -- "$@" --property "$line";; esac
done < "$SCHEDULER"
while IFS= read -r line; do
  set -- "$@" "$line"
done <<END
$OPTIONS
END
exec systemd-run --quiet --collect --wait "$@" \
  -- /bin/sh -c "$RUN" sh "$OPT/$runtime/bin/python" -c "$LAUNCH" "$WORDS"
