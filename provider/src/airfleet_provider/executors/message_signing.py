"""Signs messages in the scheduler and verifies them in workers: a worker runs only signed messages.

A signature covers the whole message: its body as bytes, Celery's headers with the id of the task, and the queue. A
worker verifies it before it decodes any part of the body.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

HEADER = "airfleet"
PURPOSE = b"airfleet workload 1\0"


class UnsignedMessageError(Exception):
    """The scheduler did not send this message to a queue of this worker."""


def decode_key(text: str) -> bytes:
    """Return the 32 bytes of a key."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def name_key(public: bytes) -> str:
    """Return the short name of a public key, which a signature carries to name its key."""
    return hashlib.sha256(public).hexdigest()[:16]


def _join(headers: Mapping[str, Any], queue: str, kind: str, encoding: str, body: bytes) -> bytes:
    # The broker adds headers of its own, whose names begin with "x-"; no code here reads them.
    own = {key: value for key, value in headers.items() if key != HEADER and not key.startswith("x-")}
    head = json.dumps([queue, kind, encoding, own], sort_keys=True, separators=(",", ":"))
    return PURPOSE + hashlib.sha256(head.encode()).digest() + body


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with one private key."""

    key: Ed25519PrivateKey
    name: str

    @classmethod
    def read(cls, seed: str) -> Signer:
        key = Ed25519PrivateKey.from_private_bytes(decode_key(seed))
        return cls(key, name_key(key.public_key().public_bytes_raw()))

    def sign(self, headers: Mapping[str, Any], queue: str, kind: str, encoding: str, body: bytes) -> dict[str, str]:
        """Return the value of the `HEADER` of a message."""
        made = self.key.sign(_join(headers, queue, kind, encoding, body))
        return {"queue": queue, "key": self.name, "signature": base64.b64encode(made).decode()}


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies messages against the schedulers' public keys and the queues of its worker."""

    keys: Mapping[str, Ed25519PublicKey]
    queues: frozenset[str]

    @classmethod
    def read(cls, keys: Iterable[str], queues: Collection[str]) -> Verifier:
        raw = [decode_key(key) for key in keys]
        return cls({name_key(key): Ed25519PublicKey.from_public_bytes(key) for key in raw}, frozenset(queues))

    def check(self, headers: Mapping[str, Any], kind: str, encoding: str, body: bytes) -> None:
        """Check that a message is signed, unaltered, and was sent to one of this worker's queues.

        Raises:
            UnsignedMessageError: it is not.
        """
        said = headers.get(HEADER)
        if not isinstance(said, Mapping):
            raise UnsignedMessageError("it is not signed")
        queue, name, made = (said.get(word) for word in ("queue", "key", "signature"))
        if not isinstance(queue, str) or queue not in self.queues:
            raise UnsignedMessageError(f"it was signed for the queue {queue!r}")
        if not isinstance(name, str) or name not in self.keys:
            raise UnsignedMessageError(f"this worker does not have the key {name!r}")
        try:
            signature = base64.b64decode(str(made), validate=True)
            self.keys[name].verify(signature, _join(headers, queue, kind, encoding, body))
        except (InvalidSignature, ValueError, TypeError, RecursionError):
            raise UnsignedMessageError("its signature is not valid") from None
