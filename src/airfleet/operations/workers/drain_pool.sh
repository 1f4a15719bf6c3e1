#!/bin/sh
# Marks a pool of this host as one that takes no new tasks. Nothing is in the file, so none is half made.
set -e
mkdir -p "$MARKS"
touch "$MARKS/$POOL"
sync "$MARKS/$POOL"
