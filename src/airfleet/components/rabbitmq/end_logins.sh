#!/bin/bash
# Removes the users whose names match OURS, except those in KEPT and those that match DRAINING.
export HOME="$BROKER_HOME" RABBITMQ_CTL_ERL_ARGS="$OPTIONS"
# The tool would read its standard input, which may be the rest of this text.
# shellcheck disable=SC2086 # LONG_NAMES is one option or none.
tool() { timeout 60 "$TOOL" -s $LONG_NAMES -n "$NODE" "$@" </dev/null; }
list_users() { users=$(tool list_users | cut -f 1); test -n "$users"; }
list_users
for user in $(printf '%s\n' "$users" | { grep -E "$OURS" || true; } | { grep -vxF "$KEPT" || true; } |
  { grep -vE "$DRAINING" || true; }); do
  # All nodes of a cluster do this at the same time. The tool reports an error for a user that another node removed.
  tool delete_user "$user" || {
    list_users
    if printf '%s\n' "$users" | grep -qxF "$user"; then exit 1; fi; }
done
