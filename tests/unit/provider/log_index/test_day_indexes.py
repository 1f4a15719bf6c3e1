"""The index finds what it was given: by words, by the names of a line, by time; and it keeps each line once."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from airfleet_provider.log_index.day_indexes import DayIndexReader, DayIndexWriter
from airfleet_provider.log_index.lines import Line, LineOrigin, show_moment
from airfleet_provider.log_index.store import LEFT_OUT, LogQuery, LogStoreError, read_whole
from log_hosts import make_event, make_line

DAY_S = 86_400.0


class Clock:
    now = 1_764_400_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(tmp_path: Path, clock: Clock) -> DayIndexWriter:
    return DayIndexWriter(tmp_path, clock)


@pytest.fixture
def reader(tmp_path: Path) -> DayIndexReader:
    return DayIndexReader(tmp_path)


def _write(writer: DayIndexWriter, *texts: str) -> None:
    origin = LineOrigin("host1", "task", "sales", "load", "r")
    writer.add(
        [
            Line("host1:a", number, number, "info", text, make_event(text), origin)
            for number, text in enumerate(texts, start=1)
        ]
    )
    writer.commit()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("connection", [1, 2]),
        ("CONNECTION refused", [1]),
        ('"connection refused"', [1]),
        ('"refused was"', []),
        ("connection -refused", [2]),
        ("-connection", [3]),
        ("connect*", [1, 2, 3]),
        ("connect_timeout=5", [3]),
        ("connect_time*", [3]),
        ("db7.example.com", [2]),
        ('"unbalanced', []),
        ("(* [", [1, 2, 3]),
        ("", [1, 2, 3]),
    ],
)
def test_words_are_found(writer: DayIndexWriter, reader: DayIndexReader, text: str, found: list[int]) -> None:
    _write(writer, "connection was refused: Connection refused", "connection to db7.example.com", "connect_timeout=5")
    assert [hit.offset for hit in reader.search(LogQuery(text=text), 10).hits] == found


def test_a_line_is_found_by_the_names_of_its_task(writer: DayIndexWriter, reader: DayIndexReader) -> None:
    writer.add([make_line(1), make_line(2, dag="orders"), make_line(3, map_index=4), make_line(4, host="host2")])
    writer.commit()
    wanted = [LogQuery(dag="orders"), LogQuery(map_index=4), LogQuery(host="host2"), LogQuery(dag="none")]
    assert [[hit.offset for hit in reader.search(one, 9).hits] for one in wanted] == [[2], [3], [4], []]


def test_the_newest_lines_of_all_days_are_shown_in_their_order(
    writer: DayIndexWriter, reader: DayIndexReader, clock: Clock
) -> None:
    writer.add([make_line(number) for number in (1, 2, 5)])
    writer.commit()
    clock.now += DAY_S
    # These were written before, and arrive late.
    writer.add([make_line(number, "host2:b") for number in (3, 4, 6)])
    writer.commit()
    answer = reader.search(LogQuery(), 4)
    assert ([hit.offset for hit in answer.hits], answer.is_cut) == ([3, 4, 5, 6], True)
    second = 1_000_000
    assert [hit.offset for hit in reader.search(LogQuery(since=2 * second, until=4 * second), 9).hits] == [2, 3]


def test_a_line_that_is_added_again_is_there_once(tmp_path: Path, writer: DayIndexWriter, clock: Clock) -> None:
    writer.add([make_line(number) for number in range(1, 4)])
    writer.commit()
    writer.add([make_line(number) for number in range(1, 6)])
    writer.close()
    clock.now += DAY_S
    another = DayIndexWriter(tmp_path, clock)
    another.add([make_line(number) for number in range(2, 8)])
    another.commit()
    assert DayIndexReader(tmp_path).count() == 7


def test_a_try_is_read_whole_and_in_order_over_days(
    writer: DayIndexWriter, reader: DayIndexReader, clock: Clock
) -> None:
    writer.add([make_line(number) for number in range(1, 4501)])
    writer.commit()
    clock.now += DAY_S
    writer.add([make_line(number) for number in range(4501, 5001)])
    writer.add([make_line(7, "host2:b"), make_line(9, "host2:c", run="another")])
    writer.commit()
    attempt = make_line(1).origin
    assert reader.find_sources(attempt) == ["host1:a", "host2:b"]
    events = [json.loads(raw)["event"] for raw in read_whole(reader, attempt, "host1:a")]
    assert events == [f"line {number}" for number in range(1, 5001)]


def test_tries_whose_joined_names_are_one_text_are_apart(writer: DayIndexWriter, reader: DayIndexReader) -> None:
    lines = [make_line(1, dag="a", task="b-c"), make_line(2, "host1:b", dag="a-b", task="c")]
    writer.add(lines)
    writer.commit()
    assert [reader.find_sources(line.origin) for line in lines] == [["host1:a"], ["host1:b"]]
    assert [list(read_whole(reader, line.origin, "host1:b")) for line in lines] == [[], [lines[1].raw]]


def test_a_line_that_the_index_refuses_does_not_stop_the_others(writer: DayIndexWriter, reader: DayIndexReader) -> None:
    assert writer.add([make_line(1), replace(make_line(2), at=2**70), make_line(3, dag="sal\udcffes")]) == 1
    writer.commit()
    found = reader.search(LogQuery(), 9).hits
    assert {hit.offset: hit.text for hit in found} == {1: "line 1", 2: LEFT_OUT, 3: "line 3"}
    assert [hit.offset for hit in reader.search(LogQuery(dag="sal\udcffes"), 9).hits] == [3]


def test_a_moment_that_cannot_be_shown_is_shown_as_the_nearest() -> None:
    assert show_moment(2**62) == "9999-12-31T23:59:59.000Z"
    assert show_moment(-1) == "1970-01-01T00:00:00.000Z"


def test_old_days_are_forgotten_and_younger_ones_stay(
    writer: DayIndexWriter, reader: DayIndexReader, clock: Clock
) -> None:
    for number in range(1, 4):
        writer.add([make_line(number)])
        writer.commit()
        clock.now += DAY_S
    assert len(reader.search(LogQuery(), 9).hits) == 3
    writer.forget_before(int((clock.now - 2 * DAY_S) * 1_000_000))
    assert [hit.offset for hit in reader.search(LogQuery(), 9).hits] == [2, 3]


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path: Path, writer: DayIndexWriter, clock: Clock) -> None:
    writer.add([make_line(1)])
    writer.commit()
    with pytest.raises(LogStoreError):
        DayIndexWriter(tmp_path, clock).add([make_line(2)])
    writer.add([make_line(3)])
    writer.commit()
    assert DayIndexReader(tmp_path).count() == 2


@pytest.mark.parametrize(
    ("size", "free", "is_kept"),
    [
        (500 << 30, 2 << 30, True),
        (500 << 30, 900 << 20, False),
        # A small disk may be fuller: 5 % of it are left.
        (8 << 30, 900 << 20, True),
        (8 << 30, 300 << 20, False),
    ],
)
def test_the_index_leaves_room_on_the_disk_to_the_database(
    writer: DayIndexWriter,
    reader: DayIndexReader,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    free: int,
    *,
    is_kept: bool,
) -> None:
    # Free room that only root may use does not help a database.
    disk = os.statvfs_result((4096, 4096, size >> 12, size >> 12, free >> 12, 9, 9, 9, 0, 255))
    writer.add([make_line(1)])
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", lambda _: disk)
        if is_kept:
            writer.commit()
        else:
            with pytest.raises(LogStoreError, match="MiB free"):
                writer.commit()
    assert reader.count() == int(is_kept)
    writer.add([make_line(1), make_line(2)])
    writer.commit()
    assert reader.count() == 2
