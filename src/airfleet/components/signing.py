"""The Ed25519 keys with which the scheduler signs its messages to workers. Only scheduler hosts have a private key."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airfleet.spec.secrets import Secret, list_accepted


def derive_private(secret: Secret) -> Secret:
    """Return the private key that signs now."""
    seed = hashlib.sha256(b"airfleet signs tasks\0" + secret.reveal().encode()).digest()
    return Secret(base64.urlsafe_b64encode(seed).decode())


def list_public(secret: Secret) -> list[str]:
    """Return the public keys that workers accept. During a rotation there are two."""
    return sorted({_derive_public(one) for one in list_accepted(secret)})


def _derive_public(secret: Secret) -> str:
    seed = base64.urlsafe_b64decode(derive_private(secret).reveal())
    raw = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(raw).decode()
