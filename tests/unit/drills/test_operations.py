"""Drills that are operations: which commands they run, and what they tell of requests that failed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from airfleet.drills import operations
from airfleet.drills.catalogue import Blow
from airfleet.drills.operations import OperatorHands, Poller, list_commands
from airfleet.errors import AirfleetError
from deadline import wait_until


class Noted:
    def __init__(self) -> None:
        self.struck: list[str] = []

    def strike(self, blow: Blow, hosts: Any) -> None:  # noqa: ANN401
        self.struck += [f"{blow}: {host}" for host in hosts]

    def give_back(self, blow: Blow, hosts: Any) -> None:  # noqa: ANN401
        raise AssertionError


@pytest.fixture
def moody() -> Iterator[tuple[str, list[int]]]:
    """A page, and the statuses that it will answer with before it is well."""
    statuses: list[int] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop() if statuses else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", statuses
        server.shutdown()
        thread.join()


def hands(url: str, inside: Noted | None = None) -> OperatorHands:
    return OperatorHands(inside or Noted(), Path(), None, Poller(url), lambda _: None)


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
    made = hands(url)
    monkeypatch.setattr(OperatorHands, "_run", lambda *_: wait_until(lambda: made.poller.asked > 3, "some requests"))
    made.strike(Blow("roll", "every", "worker"), ["io1"])
    (told,) = made.list_broken()
    assert told.startswith(f"1 of {made.poller.asked} requests to the UI failed")
    assert "503" in told
    made.strike(Blow("roll", "every", "worker"), ["io1"])
    assert made.list_broken() == (), "the next drill begins anew"


def test_a_restore_stops_the_ui_and_so_nobody_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(OperatorHands, "_run", lambda _, words: ran.append(words))
    made = hands("http://127.0.0.1:9/")
    made.strike(Blow("restore", "one", "database"), ["data1"])
    assert ran == [("db", "restore", "--to", "latest", "--yes")]
    assert made.poller.asked == 0


def test_what_is_no_operation_is_left_to_other_hands() -> None:
    inside = Noted()
    hands("http://127.0.0.1:9/", inside).strike(Blow("kill", "one", "worker"), ["io1"])
    assert inside.struck == ["kill one worker: io1"]


def test_a_command_that_fails_ends_the_drill_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operations.COMMANDS, "roll", (("no-such-verb",),))  # type: ignore[arg-type]
    with pytest.raises(AirfleetError, match="no-such-verb"):
        hands("http://127.0.0.1:9/").strike(Blow("roll", "every", "worker"), ["io1"])
