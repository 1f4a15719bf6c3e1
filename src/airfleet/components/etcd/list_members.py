"""Print what each of some voters knows of the members of etcd. The system's Python runs this text.

A voter lists the members without a majority too, to a client that has a certificate of the fleet.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request

TIMEOUT_S = 3.0


def main(authorities: str, certificate: str, key: str, *voters: str) -> None:
    """Print a line for each voter that answers: the voter, and the URL of each member. `voters` are HOST:PORT."""
    context = ssl.create_default_context(cafile=authorities)
    context.load_cert_chain(certificate, key)
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(*handlers)
    for voter in voters:
        try:
            with opener.open(f"https://{voter}/members", timeout=TIMEOUT_S) as answer:
                members = json.load(answer)
        except (OSError, ValueError):
            continue
        urls = [url for member in members for url in member["peerURLs"]]
        sys.stdout.write(" ".join((voter, *urls)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
