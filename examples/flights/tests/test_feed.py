"""The feed delivers whole files, the same bytes every time, and a reader notices when they are not whole."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from include.deliveries import (
    CONTROL_OF_REFERENCES,
    DeliveryError,
    Month,
    control_file,
    data_file,
    deliver_month,
    is_delivered,
    read_control,
    read_month,
)
from include.feed import deliver, parse_months, split_months
from include.files import write_whole

JANUARY = Month(2013, 1)


def test_months_are_split_with_their_header_and_in_order() -> None:
    csv = b"year,month,day\n2013,1,1\n2013,10,1\n2013,1,2\n"
    assert split_months(csv) == {
        JANUARY: b"year,month,day\n2013,1,1\n2013,1,2\n",
        Month(2013, 10): b"year,month,day\n2013,10,1\n",
    }


def test_delivering_again_changes_no_file(landing: Path) -> None:
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in landing.iterdir()}
    deliver(landing, [5])
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in landing.iterdir()} == before


def test_the_control_file_counts_the_rows(landing: Path) -> None:
    assert read_control(landing, Month(2013, 5)).rows == 28_796


def test_a_month_is_delivered_when_both_control_files_are_there(tmp_path: Path) -> None:
    deliver_month(tmp_path, JANUARY, b"year,month\n2013,1\n")
    assert not is_delivered(tmp_path, JANUARY)
    (tmp_path / CONTROL_OF_REFERENCES).write_text("{}")
    assert is_delivered(tmp_path, JANUARY)
    control_file(tmp_path, JANUARY).unlink()
    assert not is_delivered(tmp_path, JANUARY)


def test_a_file_that_differs_from_its_control_file_is_refused(tmp_path: Path) -> None:
    deliver_month(tmp_path, JANUARY, b"year,month\n2013,1\n")
    data_file(tmp_path, JANUARY).write_bytes(b"torn")
    with pytest.raises(DeliveryError, match="checksum"):
        read_month(tmp_path, JANUARY)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    assert write_whole(tmp_path / "a", b"1")
    assert not write_whole(tmp_path / "a", b"1")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(("text", "months"), [("3", [3]), ("1-3", [1, 2, 3]), ("1,7-8", [1, 7, 8])])
def test_months_are_parsed(text: str, months: list[int]) -> None:
    assert parse_months(text) == months


@pytest.mark.parametrize("text", ["0", "13", "5-4"])
def test_months_outside_the_year_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_months(text)


@pytest.mark.parametrize("text", ["2013-1", "2013-13", "May", ""])
def test_a_month_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="2013-01"):
        Month.parse(text)
