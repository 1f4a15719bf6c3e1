"""How a worker keeps to its slots: what it may take at a broker that behaves as RabbitMQ does, and what it reports."""

from __future__ import annotations

import json
import random
import socket
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from airfleet_provider.compat.calls import celery_worker
from airfleet_provider.executors import slot_limit
from airfleet_provider.executors.slot_limit import Grant, SlotLimit, SlotReport, SlotReports, find_credits
from airfleet_provider.network import signed_requests


class Broker:
    """Gives each consumer no more unfinished messages than its credit, and always has more. Tasks end when told."""

    def __init__(self, queues: tuple[str, ...], credit: int, *, busy: tuple[str, ...] | None = None) -> None:
        self.queues, self.busy = queues, queues if busy is None else busy
        self.grant: Grant | None = None
        self.held: dict[str, str] = {}
        self.counted: dict[str, set[str]] = {queue: set() for queue in queues}
        self.credit = dict.fromkeys(queues, credit)
        self.sent = 0

    def look(self, limit: int) -> None:
        if found := find_credits(limit, self.held, self.queues, self.grant):
            self.grant = Grant(found, frozenset(self.held))
            self.credit = dict(found)
            self.counted = {queue: set() for queue in self.queues}

    def deliver(self) -> None:
        for queue in self.busy:
            while len(self.counted[queue] & self.held.keys()) < self.credit[queue]:
                self.sent += 1
                self.held[f"m{self.sent}"] = queue
                self.counted[queue].add(f"m{self.sent}")

    def end(self, dice: random.Random, share: float) -> None:
        for one in [one for one in self.held if dice.random() < share]:
            del self.held[one]


@pytest.mark.parametrize("seed", range(20))
def test_a_worker_of_one_queue_takes_up_to_its_slots_and_no_more(seed: int) -> None:
    dice, broker, most = random.Random(seed), Broker(("io",), 16), 16
    broker.look(16)
    broker.deliver()
    for _ in range(300):
        limit = dice.randint(1, 16)
        for _ in range(dice.randint(1, 6)):
            before = len(broker.held)
            broker.end(dice, dice.random())
            broker.look(limit)
            broker.deliver()
            # A worker that holds too many keeps its consumer, with a credit of one message.
            most = max(limit, before + 1) if before >= limit else limit
            assert len(broker.held) <= most
        broker.end(dice, 1.0)
        broker.look(limit)
        broker.deliver()
        assert len(broker.held) == limit, "all its slots are used while there are tasks"


@pytest.mark.parametrize("busy", [("a",), ("a", "b"), ("a", "b", "c")])
def test_a_worker_of_several_queues_uses_all_slots_though_one_queue_is_empty(busy: tuple[str, ...]) -> None:
    broker = Broker(("a", "b", "c"), 8, busy=busy)
    for _ in range(10):
        broker.look(8)
        broker.deliver()
    assert 8 <= len(broker.held) <= 8 + 2


def test_consumers_that_do_are_left_alone() -> None:
    grant = Grant({"io": 8}, frozenset())
    assert find_credits(8, {"m1": "io"}, ("io",), grant) == {}
    assert find_credits(8, {f"m{one}": "io" for one in range(8)}, ("io",), grant) == {}
    assert find_credits(2, {f"m{one}": "io" for one in range(8)}, ("io",), grant) == {}, "it gets nothing as it is"
    assert find_credits(2, {}, ("io",), grant) == {"io": 2}


@contextmanager
def web_host(*answers: tuple[int, object]) -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server that gives these answers in turn, and the requests that it got."""
    left, seen = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            words = slot_limit.describe(path, query)
            moment, signature = (self.headers[name] for name in ("X-Airfleet-Time", "X-Airfleet-Signature"))
            assert signed_requests.is_signed("k", words, moment, signature, int(moment))
            seen.append(f"{query} at {moment}")
            status, body = left.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def date_time_string(self, timestamp: float | None = None) -> str:
            return "Thu, 01 Jan 1970 00:33:20 GMT"  # second 2000

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/airfleet/workers/cpu/a", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_last_answer_holds_until_there_is_another_and_ends_with_the_rule() -> None:
    good = (200, {"slots": 3, "again_s": 1.0})
    with web_host(good, (503, {}), (200, {"slots": -1, "again_s": 1}), (200, ["?"]), (403, {}), good, (404, {})) as at:
        url, seen = at
        reports = SlotReports(url, "k", clock=lambda: 1000.0)
        assert reports.turn() < 1, "before the worker has told anything, there is nothing to report"
        reports.report = SlotReport(2, 8, takes=True)
        assert (reports.turn(), reports.slots) == (1.0, 3)
        for _ in range(3):
            assert (reports.turn(), reports.slots) == (slot_limit.RETRY_S, 3)
        assert (reports.turn(), reports.slots) == (1.0, 3), "the clocks differ: it signs with that of the web host"
        assert (reports.turn(), reports.slots) == (slot_limit.RETRY_S, None)
    assert seen[0] == "held=2&in_force=8&takes=1&marked=0 at 1000"
    assert seen[5] == "held=2&in_force=8&takes=1&marked=0 at 2000"


def test_no_web_host_leaves_everything_as_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    reports = SlotReports(f"http://127.0.0.1:{port}/x", "k")
    reports.report = SlotReport(0, 8, takes=True)
    assert (reports.turn(), reports.slots) == (slot_limit.RETRY_S, None)
    with pytest.raises(urllib.error.URLError):
        reports._ask(reports.report)


def test_a_worker_that_begins_takes_one_message_until_it_has_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    granted: list[object] = []
    monkeypatch.setattr(celery_worker, "grant", lambda _, each: granted.append(each))
    monkeypatch.setattr(celery_worker, "consume", lambda *_, **__: None)
    monkeypatch.setattr(celery_worker, "list_held", dict)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    reports = SlotReports(f"http://127.0.0.1:{port}/x", "k")
    limit = SlotLimit(("io",), reports)
    assert limit.apply(None, 8, takes=True) == 1
    reports.turn()
    assert limit.apply(None, 8, takes=True) == 8, "no web host answers, so it has all its slots"
    assert granted == [{"io": 1}, {"io": 8}]


def test_a_worker_without_slots_has_all_of_them_when_nobody_has_answered_for_long() -> None:
    now = [0.0]
    with web_host((200, {"slots": 0, "rank": 4, "again_s": 1.0}), (503, {}), (503, {}), (503, {})) as (url, _):
        reports = SlotReports(url, "k", monotonic=lambda: now[0], clock=lambda: 1000.0)
        reports.report = SlotReport(0, 8, takes=True)
        reports.turn()
        assert (reports.slots, reports.rank) == (0, 4)
        for moment, slots in ((100.0, 0), (slot_limit.GIVEN_UP_S + 1, None), (1000.0, None)):
            now[0] = moment
            reports.turn()
            assert (reports.slots, reports.rank) == (slots, 4), "the workers that had the others may be away as well"


def test_a_worker_whose_main_thread_waits_for_the_broker_reports_that_it_takes_nothing() -> None:
    now, good = [0.0], (200, {"slots": 8, "rank": 0, "again_s": 1.0})
    with web_host(*[good] * 4) as (url, seen):
        reports = SlotReports(url, "k", monotonic=lambda: now[0], clock=lambda: 1000.0)
        reports.report = SlotReport(2, 8, takes=True)
        for moment in (0.0, 9.0, 11.0):
            now[0] = moment
            reports.turn()
        reports.report = SlotReport(2, 8, takes=True)
        reports.turn()
    assert ["takes=1" in one for one in seen] == [True, True, False, True]


def test_a_worker_consumes_nothing_without_slots_and_anew_when_its_rank_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[object] = []
    monkeypatch.setattr(celery_worker, "grant", lambda _, each: done.append(each))
    monkeypatch.setattr(celery_worker, "prioritise", lambda _, queues, priority: done.append((*queues, priority)))
    monkeypatch.setattr(celery_worker, "consume", lambda _, queues, **more: done.append((queues, more["credit"])))
    monkeypatch.setattr(celery_worker, "list_held", dict)
    reports = SlotReports("http://127.0.0.1:1/x", "k")
    reports.has_asked, reports.slots, reports.rank = True, 0, 2
    limit = SlotLimit(("io",), reports)
    for slots, rank in ((0, 2), (4, 2), (4, 2), (4, 5)):
        reports.slots, reports.rank = slots, rank
        assert limit.apply(None, 8, takes=True) == slots
    assert done == [
        *(("io", -2), ((), 1)),
        *((("io",), 1), {"io": 4}),
        (("io",), 1),
        *(("io", -5), (("io",), 1), {"io": 4}),
    ]


def test_a_worker_stays_drained_after_a_restart_until_a_web_host_says_otherwise(tmp_path: Path) -> None:
    memory = tmp_path / "workers" / "cpu.drained"
    drained, resumed = ((200, {"slots": 3, "again_s": 1.0, "drained": one}) for one in (True, False))
    older = (200, {"slots": 3, "again_s": 1.0})
    with web_host(drained, (404, {}), older, (503, {})) as (url, seen):
        reports = SlotReports(url, "k", memory, clock=lambda: 1000.0)
        assert not reports.is_drained
        for _ in range(4):
            reports.report = SlotReport(2, 8, takes=True, marked=True)
            reports.turn()
            assert reports.is_drained, "only an answer that says so resumes it"
    assert "takes=1&marked=1" in seen[0]
    with web_host(resumed, (200, {"slots": 3, "again_s": 1.0, "drained": "no"})) as (url, _):
        reports = SlotReports(url, "k", memory, clock=lambda: 1000.0, least_s=5.0)
        assert reports.is_drained, "before it has asked"
        reports.report = SlotReport(0, 8, takes=False)
        assert reports.turn() == 5.0
        assert not reports.is_drained
        assert not memory.exists()
        reports.turn()
        assert not reports.is_drained, "an answer that is none changes nothing"
