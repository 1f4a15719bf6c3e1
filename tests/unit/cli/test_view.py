"""Texts for people: events, durations and the table."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from airfleet.cli import view
from airfleet.runners.local.usage import ResourceUsage, is_alive, read_start_s
from airfleet.workspace.state_folder import BrokenFile, ProcessStatus, Snapshot, StateFolder
from airfleet_provider.contract import wording
from deadline import wait_until

SCHEDULER = ProcessStatus("scheduler", "starting", 17, 0.0, 0, "", "")
SNAPSHOT = Snapshot("flights", "/srv", 1, 1.0, "starting", "http://here", 1.0, (17,), (SCHEDULER,))


def change(snapshot: Snapshot, platform: str, **changes: Any) -> Snapshot:  # noqa: ANN401
    return replace(snapshot, phase=platform, processes=(replace(SCHEDULER, **changes),))


def list_new(events: view.Events, snapshot: Snapshot) -> list[str]:
    return [line.partition(" ")[2] for line in events.list_new(snapshot)]


def test_an_event_is_told_once() -> None:
    events = view.Events()
    assert list_new(events, SNAPSHOT) == ["scheduler starting", "platform starting"]
    assert list_new(events, SNAPSHOT) == []
    assert list_new(events, change(SNAPSHOT, "starting", detail="no heartbeat yet")) == []
    healthy = change(SNAPSHOT, "healthy", phase="healthy")
    assert list_new(events, healthy) == ["scheduler healthy", "platform healthy at http://here"]


def test_a_crash_says_why_and_the_wait_after_it_is_no_news() -> None:
    events = view.Events()
    list_new(events, change(SNAPSHOT, "healthy", phase="healthy"))
    crashed = change(SNAPSHOT, "degraded", phase="restarting", detail="ended by signal 9")
    assert list_new(events, crashed) == ["scheduler restarting: ended by signal 9", "platform degraded"]
    assert list_new(events, change(SNAPSHOT, "degraded", phase="waiting", restarts=1)) == []
    assert list_new(events, change(SNAPSHOT, "degraded", phase="starting", restarts=1)) == ["scheduler starting"]


def test_a_file_that_stops_loading_is_told_once_and_so_is_its_mending() -> None:
    events = view.Events()
    broken = BrokenFile("dags/x.py", "NameError: name 'y' is not defined (dags/x.py:3)")
    assert [line.partition(" ")[2] for line in events.list_loading([broken])] == [
        "dags/x.py does not load: NameError: name 'y' is not defined (dags/x.py:3)"
    ]
    assert events.list_loading([broken]) == []
    assert [line.partition(" ")[2] for line in events.list_loading([])] == ["dags/x.py loads again, or was removed"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (12_000, "3 h 20 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_as_people_say_it(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


def test_the_table_leaves_done_jobs_out_and_shows_broken_files(tmp_path: Path) -> None:
    done = ProcessStatus("metadata", "done", None, 0.0, 0, "", "")
    failing = replace(SCHEDULER, phase="restarting", restarts=3, detail="ended by signal 9")
    snapshot = replace(SNAPSHOT, processes=(done, failing))
    with (tmp_path / "out").open("w") as file:
        broken = BrokenFile("bad.py", "SyntaxError: [oops] [/oops] (bad.py, 1)")
        table = view.tabulate(snapshot, {"scheduler": ResourceUsage(120.4, 1.0)}, [broken])
        Console(file=file, width=160).print(table)
    text = (tmp_path / "out").read_text()
    assert "metadata" not in text
    for words in (
        "flights: starting",
        "ended by signal 9",
        "120 MiB",
        "bad.py does not load: SyntaxError: [oops] [/oops] (bad.py, 1)",
    ):
        assert words in text


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert view.tail(folder, "scheduler") == "(no log)"
    folder.logs.mkdir()
    (folder.logs / "scheduler.log").write_bytes(b"\xff\n" + b"\n".join(b"%d" % number for number in range(20)))
    assert view.tail(folder, "scheduler", 2) == "18\n19"


def test_a_supervisor_is_alive_only_if_it_is_the_same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(SNAPSHOT, supervisor=os.getpid(), supervisor_started=read_start_s(os.getpid()) or 0.0)
    assert is_alive(mine)
    assert is_alive(replace(mine, supervisor_started=psutil.Process().create_time())), "of an earlier version"
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: time.time() + 3600)
    assert is_alive(mine), "the clock was set"
    assert not is_alive(replace(mine, supervisor_started=mine.supervisor_started - 100))
    assert not is_alive(replace(mine, supervisor=2**22 + 1))


def test_a_file_does_not_load_again_because_the_database_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = BrokenFile("dags/x.py", "NameError")
    answers = chain([[broken]], repeat(None))
    asked: list[object] = []

    class Reader:
        def list_broken_files(self) -> list[BrokenFile] | None:
            asked.append(answer := next(answers))
            return answer

        def close(self) -> None:
            pass

    monkeypatch.setattr(view, "open_reader", lambda _: Reader())
    monkeypatch.setattr(view, "READ_EVERY_S", 0)
    extras = view.Extras(StateFolder(tmp_path), shows_release=False)
    extras.read_errors(change(SNAPSHOT, "healthy", phase="healthy"))
    wait_until(lambda: len(asked) >= 3, "three readings")
    assert extras.read_errors(SNAPSHOT) == [broken]
