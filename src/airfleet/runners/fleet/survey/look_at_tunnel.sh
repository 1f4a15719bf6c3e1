#!/bin/sh
# Prints the state of the tunnel of administrators. `wg show ... dump` would print the private key.
section key
# `wg` also knows the key of an interface that is down.
[ -z "$(ip -o link show dev "$TUNNEL" up 2>/dev/null)" ] || wg show "$TUNNEL" public-key 2>/dev/null
section allowed
wg show "$TUNNEL" allowed-ips 2>/dev/null
section handshakes
wg show "$TUNNEL" latest-handshakes 2>/dev/null
section endpoints
wg show "$TUNNEL" endpoints 2>/dev/null
section now
date +%s
true
