"""The keys with which the scheduler signs what it sends to workers: Ed25519, private on scheduler hosts alone."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airfleet.spec.secrets import Secret, list_accepted


def derive_private(secret: Secret) -> Secret:
    """The key that signs now."""
    seed = hashlib.sha256(b"airfleet signs tasks\0" + secret.reveal().encode()).digest()
    return Secret(base64.urlsafe_b64encode(seed).decode())


def list_public(secret: Secret) -> list[str]:
    """The keys that workers accept: two while one is exchanged for another."""
    return sorted({_derive_public(one) for one in list_accepted(secret)})


def _derive_public(secret: Secret) -> str:
    seed = base64.urlsafe_b64decode(derive_private(secret).reveal())
    raw = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(raw).decode()
