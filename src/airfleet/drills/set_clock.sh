#!/bin/sh
# Sets the clock ahead or back. What keeps the time right would undo it.
timedatectl set-ntp false 2>/dev/null || true
touch "$MARK"
date --set="$SKEW_S seconds" >/dev/null
