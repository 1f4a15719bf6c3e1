"""Fall-backs are counted by path and reason in small files, by many processes, whatever else is in the folder."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airfleet_provider.contract import fallbacks
from airfleet_provider.contract.fallbacks import Counter, Tally
from airfleet_provider.contract.text import one_line
from clocks import MadeUpClock
from deadline import PATIENCE_S

MANY = """
import sys
from pathlib import Path
from airfleet_provider.contract.fallbacks import Counter
counter = Counter("task-start", Path(sys.argv[1]))
for number in range(200):
    counter.took_fast()
    if number % 20 == 0:
        counter.fell_back("no zygote pool runs")
while counter.is_left:
    counter.flush()
"""


def read(folder: Path, name: str = "task-start") -> Tally:
    texts = []
    for kind in ("count", "json"):
        path = folder / f"{name}.{kind}"
        texts.append(path.read_text() if path.exists() else "")
    return fallbacks.read(*texts)


def test_no_count_of_any_process_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "fallbacks"
    processes = [subprocess.Popen([sys.executable, "-c", MANY, str(folder)]) for _ in range(4)]
    assert [process.wait(PATIENCE_S) for process in processes] == [0, 0, 0, 0]
    tally = read(folder)
    assert (tally.fast, tally.slow) == (800, 40)
    assert [reason.text for reason in tally.reasons] == ["no zygote pool runs"]


def test_a_reason_is_told_once_in_the_log_and_again_when_it_comes_back_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = MadeUpClock(1_000_000.0)
    caplog.set_level(logging.INFO, "airfleet")
    for _ in range(2):  # of two processes
        counter = Counter("task-start", tmp_path / "fallbacks", clock=clock)
        for _ in range(3):
            counter.fell_back("dags/x.py: it does not load")
            counter.fell_back("by design", expected=True)
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", "task-start: fell back from the fast path: dags/x.py: it does not load"),
        ("INFO", "task-start: fell back from the fast path: by design"),
    ]
    clock.now += fallbacks.FORGET_S
    counter.fell_back("dags/x.py: it does not load")
    assert len(caplog.records) == 3


def test_reasons_are_bounded_and_no_count_is_lost_with_them(tmp_path: Path) -> None:
    counter = Counter("task-start", tmp_path / "fallbacks", clock=MadeUpClock(reading_s=1.0))
    for number in range(100):
        counter.fell_back(f"\x1b[31mreason {number} \U0001f6a2" + "\\" * 10_000)
    assert (tmp_path / "fallbacks" / "task-start.json").stat().st_size < fallbacks.FILE_BYTES
    tally = read(tmp_path / "fallbacks")
    assert tally.slow == 100
    assert len(tally.reasons) == fallbacks.MOST_REASONS
    assert all(one.text.isprintable() and len(one.text) <= fallbacks.REASON_CHARS for one in tally.reasons)
    assert "reason 99" in tally.reasons[0].text


def test_counts_are_kept_until_they_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "fallbacks"
    counter = Counter("task-start", folder)
    counter.took_fast()
    with (folder / "task-start.count").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as a task could for ever
        counter.took_fast()
        assert counter.is_left
    counter.took_fast()
    assert read(folder).fast == 3


@pytest.mark.parametrize("kind", ["count", "json", "new"])
def test_what_a_task_puts_in_place_of_a_file_neither_stops_nor_misleads_anybody(tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "precious"
    elsewhere.write_text("precious")
    for place in ("link", "pipe"):
        folder = tmp_path / place
        folder.mkdir()
        path = folder / f"task-start.{kind}"
        path.symlink_to(elsewhere) if place == "link" else os.mkfifo(path)
        counter = Counter("task-start", folder)
        counter.took_fast()
        counter.fell_back("a reason")
    assert elsewhere.read_text() == "precious"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 50_000,
        '{"a": 1}',
        '{"a": [1, 2]}',
        '{"a": [-1, 0, false]}',
        '{"a": [true, 0, 3]}',
        json.dumps({"a": [10**30, 0, False]}),
        '{"a": [1, NaN, false]}',
    ],
)
def test_what_is_no_tally_is_an_empty_one(text: str) -> None:
    assert fallbacks.read(text, text) == Tally()
    assert fallbacks.read("٣", "").fast == 0
    assert fallbacks.read("9" * 4000, "").fast == 0


def test_text_from_outside_is_one_line_that_cannot_colour_it() -> None:
    assert one_line("a\nb\x1b[2J\u202e") == "a\\nb\\x1b[2J\\u202e"
    assert len(one_line("x" * 10_000, 50)) == 50
