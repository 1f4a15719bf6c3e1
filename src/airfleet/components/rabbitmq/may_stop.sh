#!/bin/bash
# On a busy host a handshake may take longer than Erlang allows. A node with another cookie or another protocol refuses
# each of them at once.
for _ in 1 2 3 4; do
  tool ping && reached=yes && break
done
[ "${reached:-}" ] || exit "$STRANGE"
tool check_if_node_is_quorum_critical || exit "$NEEDED"
