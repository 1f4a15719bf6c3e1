"""Workers run what the scheduler signed for their queue, byte for byte, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.signals import before_task_publish
from kombu.messaging import Consumer as KombuConsumer

from airfleet.components.signing import derive_private, list_public
from airfleet.spec.secrets import Secret
from airfleet_provider.executors import celery_config, consumer
from airfleet_provider.executors.celery_config import BrokerCredentials, make_config
from airfleet_provider.executors.celery_executor import sign_messages
from airfleet_provider.executors.message_signing import HEADER, UnsignedMessageError, Verifier
from deadline import PATIENCE_S

PRIVATE = derive_private(Secret("one")).reveal()
[PUBLIC] = list_public(Secret("one"))
[OTHER] = list_public(Secret("another"))


class Message:
    """What a worker is handed, through a transport in memory."""

    def __init__(self, message: Any) -> None:  # noqa: ANN401 - kombu's
        self.headers = copy.deepcopy(dict(message.headers))
        self.body = message.body
        self.content_type, self.content_encoding = message.content_type, message.content_encoding


@pytest.fixture
def message() -> Message:
    link = BrokerCredentials(broker_url="memory://", queues=("cpu", "io"), signing_key=PRIVATE)
    app = Celery("test", config_source=make_config({}, link))
    sign_messages(link)
    got: list[Any] = []
    try:
        with app.connection_for_write() as connection:
            app.send_task("execute_workload", ['{"token": "eyJ", "é": 1}'], queue="cpu", task_id="one")
            with KombuConsumer(
                connection, [celery_config.make_queue("cpu", "classic")], on_message=got.append, no_ack=True
            ):
                connection.drain_events(timeout=PATIENCE_S)
    finally:
        before_task_publish.disconnect(dispatch_uid="airfleet")
    return Message(got[0])


def verifier(*queues: str, keys: tuple[str, ...] = (PUBLIC,)) -> Verifier:
    return Verifier.read(keys, queues)


def test_a_message_of_the_scheduler_is_accepted_as_celery_sends_it(message: Message) -> None:
    assert json.loads(message.body)[0] == ['{"token": "eyJ", "é": 1}']
    consumer.check(verifier("cpu"), message)


def test_what_the_broker_adds_changes_nothing(message: Message) -> None:
    message.headers["x-delivery-count"] = 2
    consumer.check(verifier("cpu"), message)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda message: message.headers.pop(HEADER), "it is not signed"),
        (lambda message: message.headers.update({HEADER: "x"}), "it is not signed"),
        (lambda message: setattr(message, "headers", None), "it is not signed"),
        (lambda message: setattr(message, "body", message.body.replace(b"eyJ", b"eyK")), "signature is not valid"),
        (lambda message: setattr(message, "content_type", "application/x-python-serialize"), "signature is not valid"),
        (lambda message: setattr(message, "content_encoding", "binary"), "signature is not valid"),
        (lambda message: message.headers.update(id="another"), "signature is not valid"),
        (lambda message: message.headers.update(task="celery.starmap"), "signature is not valid"),
        (lambda message: message.headers.update(compression="application/x-gzip"), "signature is not valid"),
        (lambda message: message.headers[HEADER].update(queue="io"), "signature is not valid"),
        (lambda message: message.headers[HEADER].update(signature="AAAA"), "signature is not valid"),
        (lambda message: message.headers[HEADER].update(signature=None), "signature is not valid"),
        (lambda message: message.headers[HEADER].update(key="0" * 16), "does not have the key"),
        (lambda message: message.headers[HEADER].update(key=[1]), "does not have the key"),
        (lambda message: message.headers[HEADER].update(queue="memory"), "for the queue"),
    ],
)
def test_whatever_is_changed_is_refused(message: Message, change: Callable[[Message], object], reason: str) -> None:
    change(message)
    with pytest.raises(UnsignedMessageError, match=reason):
        consumer.check(verifier("cpu", "io"), message)


def test_a_message_for_another_pool_is_refused(message: Message) -> None:
    with pytest.raises(UnsignedMessageError, match="it was signed for the queue 'cpu'"):
        consumer.check(verifier("memory"), message)


def test_while_keys_are_rotated_workers_know_both(message: Message) -> None:
    consumer.check(verifier("cpu", keys=(OTHER, PUBLIC)), message)
    with pytest.raises(UnsignedMessageError, match="does not have the key"):
        consumer.check(verifier("cpu", keys=(OTHER,)), message)


def test_a_worker_without_keys_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "read_link", BrokerCredentials)
    with pytest.raises(Exception, match="public keys"):
        consumer.make_verifier()


def test_a_scheduler_without_its_key_does_not_start() -> None:
    with pytest.raises(Exception, match="the key that signs tasks"):
        sign_messages(BrokerCredentials())


def nest(depth: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


@pytest.mark.parametrize(
    "odd",
    [
        {HEADER: {"queue": ["cpu"], "key": "k", "signature": ""}},
        {HEADER: {"queue": "cpu", "key": ["k"], "signature": ["s"]}},
        {"more": nest(100_000)},
        {"more": b"\xff"},
    ],
)
def test_odd_headers_are_refused_and_end_no_worker(message: Message, odd: dict[str, Any]) -> None:
    message.headers |= odd
    with pytest.raises(UnsignedMessageError):
        consumer.check(verifier("cpu"), message)
