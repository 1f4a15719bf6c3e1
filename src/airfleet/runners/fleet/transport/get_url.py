"""Print the answer of a URL. The Python of a host's system runs this text: it has only the standard library."""

from __future__ import annotations

import ssl
import sys
import urllib.request


def main(url: str, timeout_s: str) -> None:
    """Print the page. If there is none, exit with the reason. The certificate of the server is not verified."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=float(timeout_s)) as answer:
            sys.stdout.write(answer.read().decode())
    except (OSError, ValueError) as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
