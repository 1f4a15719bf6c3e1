"""What takes messages for a worker: Celery's consumer, which runs signed ones only and keeps silent beside that.

Celery's own first waits a second for greetings of other workers. Then it makes 28 queues for messages that are to be
delivered later, which Airflow never sends. It makes them through every broker in turn, and tries a dead one for 40 s,
in which it neither takes a task nor says that it lives, so that the broker it is connected to gives it up and all
begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.exceptions import ImproperlyConfigured
from celery.worker.consumer import Consumer as CeleryConsumer

from airfleet_provider.contract.result_schema import REFUSED
from airfleet_provider.executors.celery_config import read_link
from airfleet_provider.executors.message_signing import UnsignedMessageError, Verifier

log = logging.getLogger(__name__)

# Events, gossip, a heartbeat to other workers, remote control and delays all need exchanges and queues of their own.
SILENT = {"task_events": False, "without_gossip": True, "without_mingle": True, "without_heartbeat": True}


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Looks at the signature of each message before anything else does, and runs only what the scheduler signed."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        default_steps = (
            "celery.worker.consumer.connection:Connection",
            "celery.worker.consumer.tasks:Tasks",
            "celery.worker.consumer.consumer:Evloop",
        )

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        self.refused = 0
        self.verifier = make_verifier()
        super().__init__(*args, worker_options={**(worker_options or {}), **SILENT}, **kwargs)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:  # noqa: ANN401
        """What Celery calls with each message."""
        run = super().create_task_handler(*args, **kwargs)

        def receive(message: Any) -> None:  # noqa: ANN401 - a kombu message
            try:
                check(self.verifier, message)
            except UnsignedMessageError as error:
                self.refuse(message, error)
            else:
                run(message)

        return receive

    def refuse(self, message: Any, error: UnsignedMessageError) -> None:  # noqa: ANN401
        """Take the message out of its queue, say so, and let the scheduler know that it may have to send it again."""
        self.refused += 1
        headers = message.headers if isinstance(message.headers, dict) else {}
        task_id = headers.get("id")
        log.error("Refused a message (id %r, the %s. of this worker): %s", task_id, self.refused, error)
        if isinstance(task_id, str):
            try:
                self.app.backend._store_result(task_id, None, REFUSED)
            except Exception as failure:
                log.warning("The scheduler is not told of the message that was refused: %s", failure)
        message.ack_log_error(log, self.connection_errors)


def make_verifier() -> Verifier:
    """From the file of this worker; without a key there is nothing that it could run."""
    link = read_link()
    if not link.public_keys or not link.queues:
        raise ImproperlyConfigured("AIRFLEET_CELERY names no file with public keys and queues")
    return Verifier.read(link.public_keys, link.queues)


def check(verifier: Verifier, message: Any) -> None:  # noqa: ANN401
    """Raise RefusedError for what the scheduler did not sign, or not for this worker."""
    if not isinstance(message.headers, dict):
        raise UnsignedMessageError("it is not signed")
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    verifier.check(message.headers, str(message.content_type), str(message.content_encoding), body)
