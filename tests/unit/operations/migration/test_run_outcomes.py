"""What of two outcomes is the same, and how the rest is shown."""

from __future__ import annotations

import json
import pickle

import pytest

from airfleet.errors import UsageError
from airfleet.operations.migration.side_by_side.outcomes import (
    OutcomeDifference,
    RunOutcome,
    collect,
    compare,
    describe,
)
from airfleet.operations.migration.side_by_side.tables import NamedTable, parse_table


def outcome(value: object, key: str = "return_value", state: str = "success") -> RunOutcome:
    return collect({("load", -1): state}, {("load", -1, key): json.dumps(value).encode()})


def wrapped(kind: str, *data: object) -> dict[str, object]:
    return {"__classname__": f"builtins.{kind}", "__version__": 1, "__data__": list(data)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": 1, "b": [None, 2.5]}, {"b": [None, 2.5], "a": 1}),
        # As Airflow 2.11 and Airflow 3.3 write `{"t": (1, (2,))}`.
        ({"t": [1, [2]]}, {"t": wrapped("tuple", 1, wrapped("tuple", 2))}),
        (wrapped("set", "x", "y"), wrapped("set", "y", "x")),
    ],
)
def test_what_both_versions_mean_is_the_same(old: object, new: object) -> None:
    assert list(compare(outcome(old), outcome(new))) == []


@pytest.mark.parametrize(
    ("old", "new"), [(1, "1"), (1, 1.5), ([1, 2], [2, 1]), (None, {}), ({"a": 1}, {"a": 1, "b": 2})]
)
def test_values_that_differ_are_named(old: object, new: object) -> None:
    [found] = compare(outcome(old), outcome(new))
    assert found == OutcomeDifference("XCom load.return_value", json.dumps(old), json.dumps(new))


def test_a_task_that_is_gone_or_new_or_ended_otherwise_is_named() -> None:
    old = collect({("a", -1): "success", ("b", 0): "success", ("c", -1): "skipped"}, {})
    new = collect({("b", 0): "failed", ("c", -1): "skipped", ("d", -1): None}, {})
    assert [describe(one) for one in compare(old, new)] == [
        "task a: success there, nothing here",
        "task b[0]: success there, failed here",
        "task d: nothing there, none here",
    ]


def test_xcoms_of_airflow_itself_are_left_out_and_pickles_are_named_and_not_loaded() -> None:
    assert outcome("http://…", "_link_Page").xcoms == {}
    read = collect({}, {("a", -1, "p"): pickle.dumps(print), ("a", 2, "large"): None})
    assert read.unread == ("a.p", "a[2].large")
    assert list(compare(read, collect({}, {("a", -1, "p"): b"1"}))) == []


def test_of_long_values_the_part_that_differs_is_shown_and_no_control_character() -> None:
    old, new = ["x"] * 200 + ["old\x1b[2J"], ["x"] * 200 + ["new"]
    [found] = compare(outcome(old), outcome(new))
    line = describe(found)
    assert len(line) < 250
    assert "old" in line
    assert "new" in line
    assert "\x1b" not in line


def test_tables_are_named_with_their_schema() -> None:
    assert parse_table("public.sums:day, cents") == NamedTable("public", "sums", ("day", "cents"))
    assert str(parse_table("public.sums")) == "public.sums"
    with pytest.raises(UsageError, match="names no table"):
        parse_table("sums")
