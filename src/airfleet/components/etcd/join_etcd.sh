#!/bin/sh
# Says how etcd of this host begins: with the others for the first time, or as a new member of a cluster at work. A
# member that fleet.yaml wants no more leaves, and so does this host's own where it has lost its data.
join() {
  printf 'ETCD_INITIAL_CLUSTER=%s\nETCD_INITIAL_CLUSTER_STATE=%s\nETCD_INITIAL_CLUSTER_TOKEN=%s\n' "$1" "$2" "$TOKEN" \
    > "$JOINING.new"
  mv "$JOINING.new" "$JOINING"
}
keep_data() {
  [ -f "$JOINING" ] || join "$CLUSTER" existing
  exit 0
}
if ! log_in; then
  [ ! -d "$DATA/member" ] || keep_data
  # A voter that began a cluster of its own beside one that is at work would never join it.
  # shellcheck disable=SC2086 # OTHERS is a list.
  answers=$(python3 -c "$LIST_MEMBERS" "$AUTHORITIES" "$CERTIFICATE" "$KEY" $OTHERS)
  if printf '%s\n' "$answers" | grep . | sed 's/$/ /' | grep -qvF " $OWN "; then
    echo "etcd of other hosts has a cluster without this host, and no majority to let it in:" "$answers" >&2
    echo "start etcd of the other hosts that voted before, and change one voter at a time; then apply again" >&2
    exit 1
  fi
  join "$CLUSTER" new
  exit 0
fi
members=$(call member list)
if [ -d "$DATA/member" ]; then
  case "$members" in *" $OWN,"*) keep_data;; esac
  # A member that has left never comes back with the data that it had.
  systemctl stop "$UNIT" || true
  rm -rf "$DATA/member"
fi
let_in() {
  members=$(call member list) || return 1
  leaving=$(printf '%s\n' "$members" | while IFS=, read -r id _ _ peer _; do
    peer=${peer# }
    case " $PEERS " in *" $peer "*) [ "$peer" = "$OWN" ] || continue;; esac
    printf '%s\n' "$id"
  done)
  for id in $leaving; do call member remove "$id" || return 1; done
  added=$(call member add "$NAME" --peer-urls="$OWN") || return 1
}
# Where the leader leaves, the others elect one before they let anybody in.
added=
for _ in $(seq 60); do let_in && break; added=; sleep 1; done
[ "$added" ] || { echo "etcd of the other hosts does not let this one in" >&2; exit 1; }
join "$(printf '%s\n' "$added" | sed -n 's/^ETCD_INITIAL_CLUSTER="\(.*\)"$/\1/p')" existing
