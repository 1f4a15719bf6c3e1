#!/bin/bash
# The functions of every program that calls a tool for the node of this host.
export HOME="$BROKER_HOME" RABBITMQ_CTL_ERL_ARGS="$OPTIONS"
# The tool would read its standard input, which may be the rest of this text.
# shellcheck disable=SC2086 # LONG_NAMES is one option or none.
tool() { timeout 120 "$TOOL" -q $LONG_NAMES -n "$NODE" "$@" </dev/null; }
