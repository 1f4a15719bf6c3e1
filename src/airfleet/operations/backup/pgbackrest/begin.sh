#!/bin/sh
# Clears the folder of the restore, and records which restore starts.
set -eu; cd /
settle
printf %s "$ORDER" > "$STATE.new"; mv "$STATE.new" "$STATE"
