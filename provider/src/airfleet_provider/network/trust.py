"""Whom a client trusts that reaches a server which somebody else runs."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def trust(authority: str) -> ssl.SSLContext:
    """Return the certificates of a file, or those of the system without one.

    Reading those of the system takes 30 ms of CPU time, so it is done once. Raises OSError if the file cannot be read.
    """
    return ssl.create_default_context(cafile=authority or None)
