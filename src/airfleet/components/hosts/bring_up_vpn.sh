#!/bin/bash
# Brings the tunnel of administrators up, and up to date. It may run again at any time, also after it was killed.
set -euo pipefail
umask 077
if ! [ -s "$KEY" ]; then
  wg genkey > "$KEY.new"
  sync "$KEY.new"
  mv "$KEY.new" "$KEY"
fi
# A file that cannot be read ends this program, and not the sessions of all.
administrators=$(< "$PEERS")
# An interface that is there already may be that of wireguard-go, where the kernel has no WireGuard.
ip link show dev "$INTERFACE" > /dev/null 2>&1 || ip link add dev "$INTERFACE" type wireguard
# Peers that stay keep their sessions. The key is in no argument: printf is a part of the shell.
wg syncconf "$INTERFACE" <(
  printf '[Interface]\nPrivateKey = %s\nListenPort = %s\n%s\n' "$(< "$KEY")" "$PORT" "$administrators"
)
ip -o -4 address show dev "$INTERFACE" | awk '{print $4}' | while read -r other; do
  [ "$other" = "$ADDRESS" ] || ip address delete "$other" dev "$INTERFACE"
done
ip address replace "$ADDRESS" dev "$INTERFACE"
ip link set dev "$INTERFACE" up
