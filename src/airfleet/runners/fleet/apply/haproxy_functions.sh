#!/bin/sh
# Sends one command to every process of the balancer, and prints their answers.
talk() { "$PYTHON" -c "$TALK" "$1" "$SOCKETS"/*.sock; }
