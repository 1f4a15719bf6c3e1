"""The consumer and the tasks of a running Celery worker."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from celery.worker import state


def list_queues(consumer: Any) -> tuple[str, ...]:  # noqa: ANN401 - a worker's consumer
    """Return the queues that a worker was started for."""
    return tuple(consumer.app.amqp.queues.consume_from)


def consume(consumer: Any, queues: Iterable[str], *, of: Iterable[str], credit: int | None = None) -> None:  # noqa: ANN401
    """Consume only these of the worker's queues, now and after the next reconnect to the broker.

    With `credit`, each queue that is consumed again gives no more unfinished messages than that.
    """
    wanted = frozenset(queues)
    known = consumer.app.amqp.queues
    for queue in of:
        if queue in wanted and queue not in known.consume_from:
            # Without this, Celery does not select the queue, and loses it with the connection.
            known.select_add(known[queue])
            if _is_consuming(consumer):
                if credit is not None:
                    consumer.task_consumer.channel.basic_qos(0, credit, False)
                consumer.add_task_queue(queue)
            else:
                consumer.task_consumer.add_queue(known[queue])
        elif queue not in wanted and queue in known.consume_from:
            consumer.cancel_task_queue(queue)


def prioritise(consumer: Any, queues: Iterable[str], priority: int) -> None:  # noqa: ANN401
    """Let each of these queues be consumed with a priority from the next time on, also after a reconnect.

    RabbitMQ gives a message to the consumers with the highest priority that have credit left, in turn.
    """
    names, known = frozenset(queues), consumer.app.amqp.queues
    # Right after a connect, Celery consumes by copies that it has made already.
    for queue in [*(known[name] for name in names), *consumer.task_consumer.queues]:
        if queue.name in names:
            queue.consumer_arguments = {"x-priority": priority}


def grant(consumer: Any, each: Mapping[str, int]) -> None:  # noqa: ANN401
    """Consume each of these queues anew, with the right to as many unfinished messages as its credit says.

    Messages that were taken before do not count. With RabbitMQ, a change of the limit of a consumer that exists has no
    effect (`basic.qos` without `global` is about new consumers). No process of the pool is touched, so no task ends.
    Before Celery's loop has begun, the highest of the credits is that of each queue.
    """
    tasks, known = consumer.task_consumer, consumer.app.amqp.queues
    if not _is_consuming(consumer):
        tasks.channel.basic_qos(0, max(each.values()), False)
        return
    for queue, credit in each.items():
        tasks.cancel_by_queue(queue)
        tasks.channel.basic_qos(0, credit, False)
        tasks.add_queue(known[queue])
        tasks.consume()


def remember_busy(consumer: Any) -> None:  # noqa: ANN401
    """Let the pool give messages to idle processes only, after the worker lost its broker.

    Celery forgets then which processes of its pool are busy (`AsynPool.flush`), and gives them the next messages too.
    Each would wait for the end of a task that may take hours, beside processes that are idle.
    """
    pool: Any = getattr(consumer.pool, "_pool", None)
    if not hasattr(pool, "_busy_workers"):
        return  # the pool has no processes
    for job in tuple(pool._cache.values()):
        if job._write_to is not None and job._write_to.inqW_fd in pool._all_inqueues:
            pool._busy_workers.add(job._write_to.inqW_fd)


def _is_consuming(consumer: Any) -> bool:  # noqa: ANN401
    """Return whether Celery's loop has begun, which then consumes what is there.

    Until then, nothing handles a message. One that arrives with the answer to another request would end the worker.
    """
    return consumer.task_consumer.on_message is not None


def list_held() -> dict[str, str]:
    """Return the queue of every message that the worker took and that has not ended, by the message's id."""
    return {str(one.id): str((one.delivery_info or {}).get("routing_key")) for one in list(state.reserved_requests)}


def count_slots(consumer: Any) -> int:  # noqa: ANN401
    """Return the number of tasks that the worker runs at once."""
    return int(getattr(consumer.controller, "max_concurrency", None) or consumer.pool.num_processes)


def list_tasks() -> list[dict[str, object]]:
    """Return every task that the worker took and that has not ended: it runs, or waits for a slot."""
    running = {request.id for request in state.active_requests}
    held = sorted(state.reserved_requests, key=lambda request: str(request.id))
    return [{"running": request.id in running, **_name_task(request.args)} for request in held]


def _name_task(arguments: Any) -> dict[str, object]:  # noqa: ANN401
    try:
        instance = json.loads(arguments[0])["ti"]
        return {"dag": instance["dag_id"], "run": instance["run_id"], "task": instance["task_id"]}
    except (TypeError, ValueError, LookupError):
        return {}
