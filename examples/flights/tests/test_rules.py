"""Every rule catches what it names, and nothing else is caught."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from include.deliveries import Month, read_month, reference_file
from include.reasons import REASONS
from include.rules import NUMBERS, RULES, TEXTS, Facts, Verdict, judge, read_facts, read_rows
from include.staging import shape_flights, shape_quarantine

MAY = Month(2013, 5)
FACTS = Facts(MAY, frozenset({"UA", "DL"}), frozenset({"IAH", "EWR", "ORD"}))
GOOD = {
    "year": "2013", "month": "5", "day": "1", "dep_time": "517", "sched_dep_time": "515", "dep_delay": "2",
    "arr_time": "830", "sched_arr_time": "819", "arr_delay": "11", "carrier": "UA", "flight": "1545",
    "tailnum": "N14228", "origin": "EWR", "dest": "IAH", "air_time": "227", "distance": "1400", "hour": "5",
    "minute": "15", "time_hour": "2013-05-01T09:00:00Z",
}  # fmt: skip
CANCELLED = {"dep_time": "", "dep_delay": "", "arr_time": "", "arr_delay": "", "air_time": "", "tailnum": ""}
DIVERTED = {"arr_time": "", "arr_delay": "", "air_time": ""}


def judge_rows(*rows: dict[str, str]) -> Verdict:
    frame = pd.DataFrame([{**GOOD, **row} for row in rows], columns=[*NUMBERS, *TEXTS])
    return judge(read_rows(frame.to_csv(index=False).encode()), FACTS)


@pytest.mark.parametrize("row", [{}, CANCELLED, DIVERTED], ids=["arrived", "cancelled", "diverted"])
def test_good_rows_are_accepted(row: dict[str, str]) -> None:
    assert len(judge_rows(row).accepted) == 1


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("unreadable", {"distance": "far"}),
        ("unreadable", {"dep_delay": "2.5"}),
        ("unreadable", {"time_hour": "yesterday"}),
        ("unreadable", {"day": "32"}),
        ("missing_value", {"dest": ""}),
        ("wrong_month", {"month": "6"}),
        ("unknown_origin", {"origin": "BOS"}),
        ("unknown_carrier", {"carrier": "ZZ"}),
        ("unknown_destination", {"dest": "SJU"}),
        ("same_airport", {"dest": "EWR"}),
        ("missing_registration", {"tailnum": ""}),
        ("foreign_registration", {"tailnum": "D942DN"}),
        ("arrival_without_delay", {"arr_delay": "", "air_time": ""}),
        ("clock_mismatch", {"dep_delay": "3"}),
        ("implausible_delay", {"dep_time": "440", "dep_delay": "-35"}),
        ("implausible_speed", {"air_time": "100"}),
        ("implausible_speed", {"air_time": "1300"}),
    ],
)
def test_a_bad_row_is_rejected_for_its_reason(reason: str, row: dict[str, str]) -> None:
    verdict = judge_rows(row)
    assert list(verdict.rejected["reason"]) == [reason]
    assert verdict.accepted.empty


def test_only_the_second_of_two_equal_flights_is_a_duplicate() -> None:
    verdict = judge_rows({}, CANCELLED)
    assert list(verdict.accepted.index) == [2]
    assert dict(verdict.rejected["reason"]) == {3: "duplicate_flight"}


def test_an_aircraft_cannot_leave_while_it_is_in_the_air() -> None:
    soon = {"flight": "9", "origin": "LGA", "sched_dep_time": "600", "dep_time": "602", "hour": "6", "minute": "0"}
    verdict = judge_rows({**soon, "time_hour": "2013-05-01T10:00:00Z"}, {})
    assert dict(verdict.rejected["reason"]) == {2: "aircraft_elsewhere"}


def test_the_first_rule_in_order_gives_the_reason() -> None:
    assert list(judge_rows({"carrier": "ZZ", "tailnum": "", "dep_delay": "3"}).rejected["reason"]) == [
        "unknown_carrier"
    ]


def test_a_departure_past_midnight_is_no_mismatch() -> None:
    late = {"sched_dep_time": "2350", "dep_time": "10", "dep_delay": "20", "hour": "23", "minute": "50"}
    assert len(judge_rows(late).accepted) == 1


def test_unexpected_columns_stop_the_file() -> None:
    with pytest.raises(ValueError, match="unexpected columns"):
        read_rows(b"year,month\n2013,5\n")


def test_every_rule_is_said_in_words_in_the_order_it_is_tried() -> None:
    assert list(REASONS) == [rule.reason for rule in RULES]


def test_accepted_rows_know_what_became_of_the_flight() -> None:
    rows = [{}, {**DIVERTED, "flight": "2", "tailnum": "N1"}, {**CANCELLED, "flight": "3"}]
    flights = shape_flights(judge_rows(*rows).accepted, MAY)
    assert list(flights["status"]) == ["arrived", "diverted", "cancelled"]
    assert set(flights["month"]) == set(flights["flight_date"]) == {"2013-05-01"}


def test_a_rejected_row_keeps_its_fields_as_delivered() -> None:
    quarantine = shape_quarantine(judge_rows({"origin": "???", "tailnum": ""}).rejected, MAY)
    assert list(quarantine["origin"]) == ["other"]
    assert '"origin": "???"' in quarantine["record"].iloc[0]
    assert '"tailnum": null' in quarantine["record"].iloc[0]


def test_a_real_month_is_split_without_loss(landing: Path) -> None:
    references = [reference_file(landing, name).read_bytes() for name in ("airlines", "airports")]
    verdict = judge(read_rows(read_month(landing, MAY)), read_facts(MAY, *references))
    assert len(verdict.accepted) + len(verdict.rejected) == 28_796
    assert not set(verdict.accepted.index) & set(verdict.rejected.index)
    assert verdict.rejected["reason"].value_counts().to_dict() == {
        "unknown_destination": 546,
        "arrival_without_delay": 66,
        "aircraft_elsewhere": 11,
        "implausible_speed": 2,
    }
