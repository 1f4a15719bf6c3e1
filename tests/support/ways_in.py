"""fleet.yaml with a tunnel of administrators, and the keys of two of them, for tests."""

from __future__ import annotations

from places import NINE

# Public keys of nobody: what `wg pubkey` printed of two keys that were thrown away.
ANN = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
BOB = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
VPN = f"""\
vpn:
  host: web1
  endpoint: vpn.example.com
  administrators:
    ann: {{public_key: {ANN}, address: 10.99.0.2}}
    bob: {{public_key: {BOB}, address: 10.99.0.3}}
"""
WITH_VPN = f"{NINE}allow_from: [10.0.0.5]\n{VPN}"
