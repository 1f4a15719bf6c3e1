"""The Celery file of one process: its logins at the broker and in the result database, and its half of the keys.

Each process has its own file, so that no host has a secret that its roles do not need. A worker has the login of its
pool and the public keys. The scheduler has the login of the publisher and the private key. A web host has no file.
The workers of several pools on one host run as one user, so each of them can read the files of all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from airfleet.components import signing
from airfleet.spec.secrets import Secret


def _render(
    broker: Secret, results: Secret, queues: Sequence[str], kind: str, authorities: Path | None, **more: object
) -> Secret:
    # A process of an earlier version refuses a key that it does not know.
    trust = {"authorities": str(authorities)} if authorities else {}
    body = {
        "broker_url": broker.reveal(),
        "result_backend": f"db+{results.reveal()}",
        "queues": list(queues),
        "queue_type": kind,
        **trust,
        **more,
    }
    return Secret(json.dumps(body, indent=1) + "\n")


def render_scheduler(
    broker: Secret, results: Secret, queues: Sequence[str], kind: str, key: Secret, authorities: Path | None = None
) -> Secret:
    """Return the file of the scheduler, which sends to every queue and signs its messages.

    With `authorities`, the file of the certificates that it trusts, each broker has to prove its address.
    """
    return _render(broker, results, queues, kind, authorities, signing_key=signing.derive_private(key).reveal())


def render_worker(
    broker: Secret, results: Secret, queues: Sequence[str], kind: str, key: Secret, authorities: Path | None = None
) -> Secret:
    """Return the file of a pool's workers. They take messages from these queues that a key of the scheduler signed.

    With `authorities`, the file of the certificates that they trust, each broker has to prove its address.
    """
    return _render(broker, results, queues, kind, authorities, public_keys=signing.list_public(key))
