"""The consumer and the tasks of a running Celery worker."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from celery.worker import state


def list_queues(consumer: Any) -> tuple[str, ...]:  # noqa: ANN401 - a worker's consumer
    """The queues that a worker was told to serve."""
    return tuple(consumer.app.amqp.queues.consume_from)


def consume(consumer: Any, queues: Iterable[str], *, of: Iterable[str]) -> None:  # noqa: ANN401
    """Take messages from these of the worker's queues only, now and after the next loss of the broker."""
    wanted = frozenset(queues)
    known = consumer.app.amqp.queues
    for queue in of:
        if queue in wanted and queue not in known.consume_from:
            # Celery alone would not select it, and so would forget the queue with the connection.
            known.select_add(known[queue])
            consumer.add_task_queue(queue)
        elif queue not in wanted and queue in known.consume_from:
            consumer.cancel_task_queue(queue)


def count_slots(consumer: Any) -> int:  # noqa: ANN401
    """How many tasks the worker runs at once."""
    return int(getattr(consumer.controller, "max_concurrency", None) or consumer.pool.num_processes)


def list_tasks() -> list[dict[str, object]]:
    """Every task that the worker took and has not ended, whether it runs or still waits for a slot."""
    running = {request.id for request in state.active_requests}
    held = sorted(state.reserved_requests, key=lambda request: str(request.id))
    return [{"running": request.id in running, **_name_task(request.args)} for request in held]


def _name_task(arguments: Any) -> dict[str, object]:  # noqa: ANN401
    try:
        instance = json.loads(arguments[0])["ti"]
        return {"dag": instance["dag_id"], "run": instance["run_id"], "task": instance["task_id"]}
    except (TypeError, ValueError, LookupError):
        return {}
