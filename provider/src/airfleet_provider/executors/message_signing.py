"""Workers run what the scheduler has signed, and nothing else.

A signature covers the whole message: its body as bytes, Celery's headers, the id of the task among them, and the queue.
It is looked at before anything of the body is decoded.
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
    """A message that the scheduler did not send to this worker."""


def decode_key(text: str) -> bytes:
    """The 32 bytes of a key."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def name_key(public: bytes) -> str:
    """The short name by which a signature says which key made it."""
    return hashlib.sha256(public).hexdigest()[:16]


def _join(headers: Mapping[str, Any], queue: str, kind: str, encoding: str, body: bytes) -> bytes:
    # The broker adds headers of its own, which nobody here reads.
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
        """The header that goes with a message."""
        made = self.key.sign(_join(headers, queue, kind, encoding, body))
        return {"queue": queue, "key": self.name, "signature": base64.b64encode(made).decode()}


@dataclass(frozen=True, slots=True)
class Verifier:
    """Knows the public keys that may have signed, and the queues of its worker."""

    keys: Mapping[str, Ed25519PublicKey]
    queues: frozenset[str]

    @classmethod
    def read(cls, keys: Iterable[str], queues: Collection[str]) -> Verifier:
        raw = [decode_key(key) for key in keys]
        return cls({name_key(key): Ed25519PublicKey.from_public_bytes(key) for key in raw}, frozenset(queues))

    def check(self, headers: Mapping[str, Any], kind: str, encoding: str, body: bytes) -> None:
        """Raise RefusedError for a message that is not signed, was altered, or was sent to another queue."""
        said = headers.get(HEADER)
        if not isinstance(said, Mapping):
            raise UnsignedMessageError("it is not signed")
        queue, name, made = (said.get(word) for word in ("queue", "key", "signature"))
        if not isinstance(queue, str) or queue not in self.queues:
            raise UnsignedMessageError(f"it was signed for the queue {queue!r}")
        if not isinstance(name, str) or name not in self.keys:
            raise UnsignedMessageError(f"no key {name!r} is known here")
        try:
            signature = base64.b64decode(str(made), validate=True)
            self.keys[name].verify(signature, _join(headers, queue, kind, encoding, body))
        except (InvalidSignature, ValueError, TypeError, RecursionError):
            raise UnsignedMessageError("its signature does not fit") from None
