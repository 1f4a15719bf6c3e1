#!/bin/sh
# Begins the answer of a name: section NAME
section() { echo "$MARK $1"; }
