"""What one process is told of Celery: its own login at the broker and in the results, and its half of the keys.

Each process has a file of its own, so that no other of its host sees more than it must: a worker has the login of its
pool and public keys, the scheduler that of the publisher and the private key, and a web host has none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from airfleet.components import signing
from airfleet.spec.secrets import Secret


def _render(broker: Secret, results: Secret, queues: Sequence[str], kind: str, **more: object) -> Secret:
    body = {
        "broker_url": broker.reveal(),
        "result_backend": f"db+{results.reveal()}",
        "queues": list(queues),
        "queue_type": kind,
        **more,
    }
    return Secret(json.dumps(body, indent=1) + "\n")


def render_scheduler(broker: Secret, results: Secret, queues: Sequence[str], kind: str, key: Secret) -> Secret:
    """For the scheduler, which sends to every queue and signs."""
    return _render(broker, results, queues, kind, signing_key=signing.derive_private(key).reveal())


def render_worker(broker: Secret, results: Secret, queues: Sequence[str], kind: str, key: Secret) -> Secret:
    """For the workers of a pool, which take from these queues what one of the keys has signed."""
    return _render(broker, results, queues, kind, public_keys=signing.list_public(key))
