"""The queues of a fleet, from the metrics of each RabbitMQ node."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet.runners.fleet.survey import outside_health
from airfleet.runners.fleet.survey.outside_health import HealthObservation
from deadline import REQUEST_S
from places import NINE, desired, parse
from shells import MadeUpConnection

METRICS = """\
# TYPE rabbitmq_detailed_queue_consumers gauge
# HELP rabbitmq_detailed_queue_consumers Consumers on a queue
rabbitmq_detailed_queue_consumers{vhost="airfleet",queue="io"} 2
rabbitmq_detailed_queue_consumers{vhost="airfleet",queue="cpu"} 0
rabbitmq_detailed_queue_consumers{vhost="airfleet",queue="cpu1@h1.celery.pidbox"} 1
"""


@pytest.fixture
def node() -> Iterator[tuple[int, list[str]]]:
    """The port of a node's metrics, and the requests that it got."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


def test_a_node_is_asked_on_its_own_host_without_a_port_that_others_need_to_reach(
    node: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = node
    monkeypatch.setattr(outside_health, "RABBITMQ_METRICS", port)
    done = subprocess.run(
        ["sh", "-c", outside_health.ask_consumers(desired("data1").place)], capture_output=True, text=True, check=True
    )
    assert outside_health.read_consumers(done.stdout) == {"io": 2, "cpu": 0, "cpu1@h1.celery.pidbox": 1}
    assert asked == ["/metrics/detailed?vhost=airfleet&family=queue_consumer_count"]
    monkeypatch.setattr(outside_health, "RABBITMQ_METRICS", 9)
    assert subprocess.run(
        ["sh", "-c", outside_health.ask_node("127.0.0.1", "/", timeout_s=REQUEST_S)], check=False
    ).returncode


AWAY = "away"
CLUSTER = NINE.replace("roles: [scheduler]", "roles: [scheduler, broker]")
BROKERS = [host.name for host in parse(CLUSTER).with_role("broker")]


def _say(answer: str, _work: str) -> str:
    return answer


def look(*answers: str) -> dict[str, HealthObservation]:
    """Return the observations of the queues when the nodes give these answers."""
    views: list[Any] = [
        SimpleNamespace(
            connection=MadeUpConnection(perform=partial(_say, answer), away=answer is AWAY),
            desired=desired(name, CLUSTER),
        )
        for name, answer in zip(BROKERS, answers, strict=False)
    ]
    return {observation.what: observation for observation in outside_health.look(parse(CLUSTER), views)}


def test_a_queue_has_the_workers_that_the_node_knows_which_leads_it() -> None:
    line = 'rabbitmq_detailed_queue_consumers{{vhost="airfleet",queue="{}"}} {}\n'
    seen = look(line.format("io", 2) + line.format("cpu", 0), line.format("cpu", 3), "")
    assert (seen["queue io"].is_well, seen["queue io"].detail) == (True, "2 workers")
    assert (seen["queue cpu"].is_well, seen["queue cpu"].detail) == (True, "3 workers")
    assert (seen["queue memory"].is_well, seen["queue memory"].detail) == (False, "0 workers")
    assert "broker" not in seen


def test_a_node_that_says_nothing_is_named_and_the_others_are_heard() -> None:
    line = 'rabbitmq_detailed_queue_consumers{vhost="airfleet",queue="io"} 2\n'
    seen = look(AWAY, line)
    assert seen["broker"].detail == f"RabbitMQ of {BROKERS[0]} does not report its queues"
    assert seen["queue io"].is_well
    assert not any(what.startswith("queue ") for what in look(AWAY)), "of queues nothing is known then"
