"""Drills that are operations: their commands, and their report of failed requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from airfleet.drills import operator_actions
from airfleet.drills.catalogue import CATALOGUE, Fault
from airfleet.drills.operator_actions import OperatorInjector, Poller, list_commands
from airfleet.errors import AirfleetError
from deadline import wait_until


class Noted:
    def __init__(self) -> None:
        self.struck: list[str] = []

    def inject(self, fault: Fault, hosts: Any) -> None:  # noqa: ANN401
        self.struck += [f"{fault}: {host}" for host in hosts]

    def revert(self, fault: Fault, hosts: Any) -> None:  # noqa: ANN401
        raise AssertionError


@pytest.fixture
def moody() -> Iterator[tuple[str, list[int]]]:
    """Serve a page; yield its address and the list of statuses that it answers with before 200."""
    statuses: list[int] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop() if statuses else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", statuses
        server.shutdown()
        thread.join()


def injector(url: str, inside: Noted | None = None) -> OperatorInjector:
    return OperatorInjector(inside or Noted(), Path(), None, Poller(url), lambda _: None)


def test_each_host_is_drained_and_resumed_before_the_next() -> None:
    assert [words[1:3] for words in list_commands("drain", ["io1", "io2"])] == [
        ("drain", "io1"),
        ("resume", "io1"),
        ("drain", "io2"),
        ("resume", "io2"),
    ]
    assert list_commands("roll", ["io1", "io2"]) == [("apply", "--restart")]


def test_an_upgrade_is_drilled_there_and_back() -> None:
    words = list_commands("upgrade", ["io1", "io2"])
    assert words == [("upgrade", "--back", "--yes"), ("upgrade", "--yes")]


def test_a_request_that_failed_during_an_operation_is_told(
    moody: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, statuses = moody
    statuses += [503]
    made = injector(url)
    monkeypatch.setattr(OperatorInjector, "_run", lambda *_: wait_until(lambda: made.poller.asked > 3, "some requests"))
    made.inject(Fault("roll", "every", "worker"), ["io1"])
    (told,) = made.list_broken()
    assert told.startswith(f"1 of {made.poller.asked} requests to the UI failed")
    assert "503" in told
    made.inject(Fault("roll", "every", "worker"), ["io1"])
    assert made.list_broken() == (), "the next drill begins anew"


def test_a_restore_stops_the_ui_and_so_nobody_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(OperatorInjector, "_run", lambda _, words: ran.append(words))
    made = injector("http://127.0.0.1:9/")
    made.inject(Fault("restore", "one", "database"), ["data1"])
    assert ran == [("db", "restore", "--to", "latest", "--yes")]
    assert made.poller.asked == 0


def test_a_switch_over_is_the_command_that_an_operator_types(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(OperatorInjector, "_run", lambda _, words: ran.append(words))
    injector("http://127.0.0.1:9/").inject(CATALOGUE["database-switchover"].fault, ["data1"])
    assert ran == [("failover", "--database")]


def test_what_is_no_operation_is_left_to_other_hands() -> None:
    inside = Noted()
    injector("http://127.0.0.1:9/", inside).inject(Fault("kill", "one", "worker"), ["io1"])
    assert inside.struck == ["kill one worker: io1"]


def test_a_command_that_fails_ends_the_drill_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operator_actions.COMMANDS, "roll", (("no-such-verb",),))
    with pytest.raises(AirfleetError, match="no-such-verb"):
        injector("http://127.0.0.1:9/").inject(Fault("roll", "every", "worker"), ["io1"])
