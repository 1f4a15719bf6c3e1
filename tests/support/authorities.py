"""The certificate authorities that HTTP clients of tests trust."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def read() -> ssl.SSLContext:
    """Return them, read once in this process.

    A client of httpx that gets none reads them itself. That takes 20 ms of CPU, and waits make a client for each look.
    """
    return ssl.create_default_context()
