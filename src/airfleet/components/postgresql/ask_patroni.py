"""Ask Patroni of this host by HTTPS, and print what it says. The Python of the host's system runs this text."""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request
from pathlib import Path

TIMEOUT_S = 5.0


def main(config: str, what: str) -> None:
    """Print what `what` says; raise OSError where Patroni does not answer, or says no."""
    api = json.loads(Path(config).read_text(encoding="utf-8"))["restapi"]
    address, _, port = api["listen"].rpartition(":")
    address = "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104
    context = ssl.create_default_context(cafile=api["cafile"])
    url = f"https://{address}:{port}/{what}"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=context) as answer:
        sys.stdout.write(answer.read().decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
