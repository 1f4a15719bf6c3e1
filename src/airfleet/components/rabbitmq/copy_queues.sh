#!/bin/bash
# Gives this node a copy of every queue. A queue takes one new member at a time and refuses another meanwhile, and all
# nodes of a cluster ask at the first apply. So the program asks again, for two minutes at most.
began="$SECONDS"
while true; do
  # The tool reports an error for a queue that the node has already. So the program checks the result instead.
  tool grow "$NODE" all --vhost-pattern "^$VHOST$" --errors-only || true
  lacking=""
  for queue in $QUEUES; do
    tool quorum_status --vhost "$VHOST" "$queue" | grep -qF "$NODE" || lacking="$lacking $queue"
  done
  [ -n "$lacking" ] || break
  [ "$((SECONDS - began))" -lt 120 ] || { echo "$NODE keeps no copy of the queues$lacking" >&2; exit 1; }
  sleep 1
done
