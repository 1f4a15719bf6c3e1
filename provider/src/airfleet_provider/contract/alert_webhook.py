"""How Alertmanager hands alerts over to the agents: the path of their HTTP server, and the token that it shows."""

from __future__ import annotations

import hashlib
import hmac

# The agents take Alertmanager's webhook (version 4) with POST at this path.
PATH = "/alerts"


def derive_token(secret_key: str) -> str:
    """Return the bearer token of the webhook. The agents and Alertmanager's file have it from `[api] secret_key`."""
    return hmac.new(secret_key.encode(), b"airfleet alertmanager", hashlib.sha256).hexdigest()
