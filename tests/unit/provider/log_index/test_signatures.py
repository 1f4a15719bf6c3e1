"""Errors that differ only in what changes from run to run are one kind."""

from __future__ import annotations

import pytest

from airfleet_provider.log_index.lines import LineOrigin
from airfleet_provider.log_index.signatures import group, make_signature
from airfleet_provider.log_index.store import Hit


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cannot read /data/2026-11-28/a.csv: row 17", "cannot read /data/2026-11-29/b.csv: row 4711"),
        ("job 0b6f8a52-5c0e-4a1c-9b53-c2d1f0a7e911 failed", "job 7a1b8a52-5c0e-4a1c-9b53-c2d1f0a7e000 failed"),
        ("no answer since 2026-11-29T05:27:58Z", "no answer since 2026-11-30 06:00:01.123+00:00"),
        ("<X object at 0x7f9feb2ba130> is closed", "<X object at 0x7f0000000001> is closed"),
        ("2026-11-29T07:54:08Z [error    ] lost [a]", "2026-11-30T01:02:03Z [error    ] lost [a]"),
        (
            "Task failed\nValueError: no price in row 3\n  a.py:1",
            "Task failed\nValueError: no price in row 9\n  b.py:7",
        ),
    ],
)
def test_lines_of_one_kind_have_one_signature(one: str, other: str) -> None:
    assert make_signature(one) == make_signature(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Task failed\nValueError: no price", "Task failed\nKeyError: 'price'"),
        ("column 'price' is missing", "column 'name' is missing"),
        ("connection refused", "connection reset"),
    ],
)
def test_lines_of_two_kinds_have_two_signatures(one: str, other: str) -> None:
    assert make_signature(one) != make_signature(other)


def _hit(at: int, text: str, dag: str, task: str, host: str = "h1") -> Hit:
    return Hit(
        "s", at, at, "error", text, LineOrigin(host, "task" if dag else "scheduler", dag, task, f"run{at}", -1, 1)
    )


def test_the_error_of_the_most_tasks_comes_first() -> None:
    hits = [_hit(9, "slow", "", ""), _hit(8, "slow", "", "")]
    hits += [_hit(number, f"no price in row {number}", f"dag{number % 2}", f"task{number % 3}") for number in range(6)]
    first, second = group(hits)
    assert (len(first.tasks), first.dags, first.lines, len(first.tries)) == (6, ["dag0", "dag1"], 6, 6)
    assert (first.first.at, first.last.at) == (0, 5)
    assert (second.tasks, second.lines, second.components) == (set(), 2, {"scheduler"})
