"""The consumer of a worker: Celery's consumer, which runs only signed messages and does not talk to other workers.

Celery's own consumer first waits a second for greetings of other workers. Then it declares 28 queues for delayed
messages, which Airflow never sends. It declares them through every broker in turn, and tries a dead broker for 40 s.
During these 40 s it takes no tasks and sends no heartbeat. So the broker it is connected to closes the connection, and
the consumer starts from the beginning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.exceptions import ImproperlyConfigured
from celery.worker.consumer import Consumer as CeleryConsumer

from airfleet_provider.compat.calls import celery_worker
from airfleet_provider.contract.result_schema import REFUSED
from airfleet_provider.executors.celery_config import read_link
from airfleet_provider.executors.message_signing import UnsignedMessageError, Verifier

log = logging.getLogger(__name__)

# Events, gossip and heartbeats to other workers need exchanges and queues of their own, so they are off.
SILENT = {"task_events": False, "without_gossip": True, "without_mingle": True, "without_heartbeat": True}


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Checks the signature of each message first, and runs only messages that the scheduler signed."""

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

    def on_close(self) -> None:
        """Drop what was not begun; Celery calls this when the connection to the broker is lost."""
        super().on_close()
        celery_worker.remember_busy(self)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:  # noqa: ANN401
        """Return the function that Celery calls with each message."""
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
        """Remove the message from its queue, log it, and store for the scheduler that the message was refused."""
        self.refused += 1
        headers = message.headers if isinstance(message.headers, dict) else {}
        task_id = headers.get("id")
        log.error("Refused a message (id %r, number %s of this worker): %s", task_id, self.refused, error)
        if isinstance(task_id, str):
            try:
                self.app.backend._store_result(task_id, None, REFUSED)
            except Exception as failure:
                log.warning("Cannot report the refused message to the scheduler: %s", failure)
        message.ack_log_error(log, self.connection_errors)


def make_verifier() -> Verifier:
    """Read the public keys and queues of this worker.

    Raises:
        ImproperlyConfigured: there is no public key or no queue, so the worker could run no task.
    """
    link = read_link()
    if not link.public_keys or not link.queues:
        raise ImproperlyConfigured("AIRFLEET_CELERY names no file with public keys and queues")
    return Verifier.read(link.public_keys, link.queues)


def check(verifier: Verifier, message: Any) -> None:  # noqa: ANN401
    """Check that the scheduler signed a message for one of this worker's queues.

    Raises:
        UnsignedMessageError: it did not.
    """
    if not isinstance(message.headers, dict):
        raise UnsignedMessageError("it is not signed")
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    verifier.check(message.headers, str(message.content_type), str(message.content_encoding), body)
