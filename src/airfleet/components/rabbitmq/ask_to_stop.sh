#!/bin/bash
# Runs ASK as the broker's user where the node runs.
cd /
systemctl is-active -q "$UNIT" || exit 0
runuser -u rabbitmq -- bash -c "$ASK" </dev/null >/dev/null 2>&1
