"""How a worker sets out to take tasks, at its start and after each loss of its broker: with what tasks need, no more.

Celery's own consumer first waits a second for greetings of other workers. Then it makes 28 queues for messages that are
to be delivered later, which Airflow never sends. It makes them through every broker in turn, and tries a dead one for
40 s, in which it neither takes a task nor says that it lives, so that the broker it is connected to gives it up and all
begins anew.
"""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

DELAYS = "celery.worker.consumer.delayed_delivery:DelayedDelivery"
GREETINGS = {"without_mingle": True, "without_gossip": True}


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """`worker_consumer` in Celery's settings."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        default_steps = tuple(step for step in CeleryConsumer.Blueprint.default_steps if step != DELAYS)

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - Celery has no types
        super().__init__(*arguments, **options | GREETINGS)
