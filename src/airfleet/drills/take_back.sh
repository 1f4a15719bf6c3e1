#!/bin/sh
# Takes a fault back now, and disarms the timer.
sh -c "$BACK" sh "$@"
systemctl stop "$TIMER.timer" 2>/dev/null || true
