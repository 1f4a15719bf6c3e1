"""Ask other voters for their members, which they list without a majority too. The system's Python runs this text."""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request

TIMEOUT_S = 3.0


def main(authorities: str, certificate: str, key: str, own: str, *peers: str) -> int:
    """Return 1 where a voter has a cluster without the member `own`, a URL; 0 where none answers or all have it."""
    context = ssl.create_default_context(cafile=authorities)
    context.load_cert_chain(certificate, key)
    for peer in peers:
        try:
            with urllib.request.urlopen(f"https://{peer}/members", timeout=TIMEOUT_S, context=context) as answer:
                members = json.load(answer)
        except (OSError, ValueError):
            continue
        if not any(own in member["peerURLs"] for member in members):
            sys.stderr.write(f"etcd at {peer} has a cluster without this host, and no majority to let it in\n")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
