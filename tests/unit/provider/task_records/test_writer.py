"""What a process of a task writes beside its log: in a file of its own, in bounds, and only if it is wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from airfleet_provider.contract import environment, task_records
from airfleet_provider.contract.task_records import RecordKind, TaskRecord
from airfleet_provider.task_records.user_spans import SpanRecorder
from airfleet_provider.task_records.writer import RecordWriter
from forked import start_fork

INSTANCE = "0198b9c0-0000-7000-8000-000000000001"


class RecordFolder:
    """The folder of a host, as a process of one attempt writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {environment.RECORDS: str(path / INSTANCE), environment.SPANS: "1"}
        self.writer = RecordWriter(self.environ)
        self.spans = SpanRecorder(self.writer, self.environ)

    def read(self) -> list[TaskRecord]:
        return [one for path in sorted(self.path.iterdir()) for one in task_records.decode(path.read_bytes())]

    def read_spans(self) -> list[Any]:
        return [one.body for one in self.read() if one.kind is RecordKind.SPAN]


@pytest.fixture
def folder(tmp_path: Path) -> RecordFolder:
    return RecordFolder(tmp_path)


def test_nothing_is_written_where_nobody_wants_it(tmp_path: Path) -> None:
    writer = RecordWriter({})
    assert not writer.write(RecordKind.SPAN, {})
    spans = SpanRecorder(writer, {})
    with spans.record("load", {"rows": 1}) as span:
        span.set(more=2)
    assert not list(tmp_path.iterdir())


def test_a_file_belongs_to_one_process_and_says_whose_it_is(folder: RecordFolder) -> None:
    assert folder.writer.write(RecordKind.OPENLINEAGE, {"a": 1})

    def write() -> None:
        assert folder.writer.write(RecordKind.OPENLINEAGE, {"a": 2})

    assert os.waitpid(start_fork(write), 0)[1] == 0
    assert folder.writer.write(RecordKind.OPENLINEAGE, {"a": 3})
    names = [task_records.read_name(path.name) for path in folder.path.iterdir()]
    assert [name[0] for name in names if name] == [INSTANCE] * 2
    assert sorted(
        [one.body["a"] for one in task_records.decode(path.read_bytes())] for path in folder.path.iterdir()
    ) == [
        [1, 3],
        [2],
    ]


def test_a_file_has_a_limit_and_says_that_it_was_reached(folder: RecordFolder) -> None:
    big = {"text": "x" * 100_000}
    kept = sum(folder.writer.write(RecordKind.OPENLINEAGE, big) for _ in range(50))
    assert 5 < kept < 11
    [path] = folder.path.iterdir()
    assert path.stat().st_size <= task_records.MOST_FILE_BYTES + task_records.CUT_BYTES
    assert [one.kind for one in folder.read()] == [*[RecordKind.OPENLINEAGE] * kept, RecordKind.CUT]


def test_one_record_that_is_too_large_keeps_no_other_out(folder: RecordFolder) -> None:
    assert not folder.writer.write(RecordKind.OPENLINEAGE, {"text": "x" * 200_000})
    assert folder.writer.write(RecordKind.OPENLINEAGE, {"a": 1})
    assert [one.kind for one in folder.read()] == [RecordKind.CUT, RecordKind.OPENLINEAGE]


def test_a_folder_that_is_gone_fails_no_task(tmp_path: Path) -> None:
    environ = {environment.RECORDS: str(tmp_path / "gone" / INSTANCE), environment.SPANS: "1"}
    with SpanRecorder(RecordWriter(environ), environ).record("load", {}):
        pass


def test_the_beginning_of_a_line_is_no_record(folder: RecordFolder) -> None:
    folder.writer.write(RecordKind.OPENLINEAGE, {"a": 1})
    [path] = folder.path.iterdir()
    text = path.read_bytes()
    assert [one.place for one in task_records.decode(text + text[:-1])] == [len(text)]
    assert not list(task_records.decode(b"[]\nnull\n{}\n\xff\n" + b"[" * 100_000 + b"\n"))


def test_spans_are_nested_and_an_error_passes(folder: RecordFolder) -> None:
    with pytest.raises(LookupError), folder.spans.record("outer", {}), folder.spans.record("inner", {"n": 1}) as span:
        span.set(found=False)
        raise LookupError("s3cret in a message")
    inner, outer = folder.read_spans()
    assert (outer["name"], outer["parent"], outer["error"]) == ("outer", 0, "LookupError")
    assert (inner["name"], inner["parent"]) == ("inner", outer["number"])
    assert inner["attributes"] == {"n": 1, "found": False}
    assert outer["took"] >= inner["took"]
    assert b"s3cret" not in b"".join(path.read_bytes() for path in folder.path.iterdir())


def test_spans_have_limits_in_number_and_size(folder: RecordFolder) -> None:
    for number in range(task_records.MOST_SPANS + 50):
        with folder.spans.record("n" * 1000, {f"k{one}": "v" * 10_000 for one in range(30)} if number < 3 else {}):
            pass
    spans = folder.read_spans()
    assert len(spans) == task_records.MOST_SPANS
    assert len(spans[0]["name"]) == 100
    assert len(spans[0]["attributes"]) == 20
    assert {len(one) for one in spans[0]["attributes"].values()} == {200}
    assert folder.read()[-1].kind is RecordKind.CUT


class BadText:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_attributes_are_hidden_by_their_names_and_none_fails_a_task(folder: RecordFolder) -> None:
    given = {"password": "a", "api_key": 7, "url": "http://u:s3cret@h/", "odd": BadText(), "rows": 12}
    with folder.spans.record("load", given):
        pass
    [span] = folder.read_spans()
    assert span["attributes"] == {
        "password": "***",
        "api_key": "***",
        "url": "http://u:***@h/",
        "odd": "<BadText>",
        "rows": 12,
    }
