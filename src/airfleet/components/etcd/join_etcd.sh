#!/bin/sh
# Says how etcd of this host begins: with the others for the first time, or as a new member of a cluster at work. A
# member that fleet.yaml wants no more leaves, and so does this host's own where it has lost its data.
join() {
  printf 'ETCD_INITIAL_CLUSTER=%s\nETCD_INITIAL_CLUSTER_STATE=%s\nETCD_INITIAL_CLUSTER_TOKEN=%s\n' "$1" "$2" "$TOKEN" \
    > "$JOINING.new"
  mv "$JOINING.new" "$JOINING"
}
if [ -d "$DATA/member" ]; then
  [ -f "$JOINING" ] || join "$CLUSTER" existing
  exit 0
fi
if ! log_in; then
  # A voter that began a cluster of its own beside one that is at work would never join it.
  # shellcheck disable=SC2086 # OTHERS is a list.
  if ! python3 -c "$ASK_MEMBERS" "$AUTHORITIES" "$CERTIFICATE" "$KEY" "$OWN" $OTHERS; then
    echo "start etcd of the other hosts that voted before, and change one voter at a time; then apply again" >&2
    exit 1
  fi
  join "$CLUSTER" new
  exit 0
fi
members=$(call member list)
printf '%s\n' "$members" | while IFS=, read -r id _ _ peer _; do
  peer=${peer# }
  case " $PEERS " in
    *" $peer "*) [ "$peer" = "$OWN" ] || continue;;
  esac
  call member remove "$id"
done
added=$(call member add "$NAME" --peer-urls="$OWN")
join "$(printf '%s\n' "$added" | sed -n 's/^ETCD_INITIAL_CLUSTER="\(.*\)"$/\1/p')" existing
