"""How a Celery worker names a message, and how it limits what it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from kombu.entity import Queue
from kombu.messaging import Consumer

from airfleet_provider.compat.calls import celery_worker


def test_a_message_of_airflow_s_is_called_by_its_task() -> None:
    said = json.dumps({"ti": {"dag_id": "sales", "run_id": "r1", "task_id": "load"}})
    assert celery_worker._name_task((said,)) == {"dag": "sales", "run": "r1", "task": "load"}
    assert celery_worker._name_task(("what",)) == {}


class Channel(MagicMock):
    """A channel that does as one of RabbitMQ: while it waits for an answer, it hands out what has arrived."""

    def connect(self) -> None:
        self.credit = 0
        self.credits: dict[str, int] = {}
        self.arrived: list[Callable[[Any], None]] = []
        self.basic_qos.side_effect = lambda _, credit, __: setattr(self, "credit", credit)
        self.basic_consume.side_effect = self.consume
        self.basic_cancel.side_effect = lambda tag: self.hand_out()
        self.message_to_python.side_effect = lambda message: message

    def consume(self, queue: str, callback: Callable[[Any], None], nowait: bool, **_: object) -> None:
        if not nowait:
            self.hand_out()
        self.credits[queue] = self.credit
        self.arrived += [callback] * self.credit

    def hand_out(self) -> None:
        arrived, self.arrived = self.arrived, []
        for callback in arrived:
            callback(MagicMock(errors=[]))


def test_a_limit_before_the_loop_takes_no_message_that_nobody_would_handle() -> None:
    channel = Channel()
    channel.connect()
    queues = {name: Queue(name) for name in ("a", "b")}
    tasks = Consumer(channel, list(queues.values()), auto_declare=False)
    consumer = SimpleNamespace(task_consumer=tasks, app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)))
    celery_worker.grant(consumer, {"a": 1, "b": 1})
    taken: list[object] = []
    # What Celery does when its loop begins.
    tasks.on_message = taken.append
    tasks.consume()
    channel.hand_out()
    assert (channel.credits, len(taken)) == ({"a": 1, "b": 1}, 2)
    celery_worker.grant(consumer, {"a": 3, "b": 3})
    assert channel.credits == {"a": 3, "b": 3}


def test_a_priority_that_changed_while_the_broker_was_away_is_that_of_the_first_consumers_after_it() -> None:
    channel = Channel()
    channel.connect()
    queues = {name: Queue(name) for name in ("a", "b")}
    tasks = Consumer(channel, list(queues.values()), auto_declare=False)
    consumer = SimpleNamespace(task_consumer=tasks, app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)))
    celery_worker.prioritise(consumer, queues, -3)
    tasks.on_message = MagicMock()
    tasks.consume()
    assert [call.kwargs["arguments"] for call in channel.basic_consume.call_args_list] == [{"x-priority": -3}] * 2
