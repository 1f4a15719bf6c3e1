#!/bin/sh
# Makes etcd at OWN, one of ENDPOINTS, the leader. The login of root comes through standard input.
read -r ETCDCTL_USER
export ETCDCTL_USER ETCDCTL_API=3
call() { etcdctl --cacert="$AUTHORITIES" --dial-timeout=3s --command-timeout=5s "$@"; }
status=$(call --endpoints="$ENDPOINTS" endpoint status) || exit 1
leader=$(echo "$status" | awk -F ', ' '$5 == "true" { print $1 }')
[ "$leader" = "$OWN" ] || call --endpoints="$leader" move-leader "$(echo "$status" | awk -F ', ' -v own="$OWN" '$1 == own { print $2 }')"
