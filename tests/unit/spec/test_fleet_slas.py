"""The section `slas` of fleet.yaml: what it means, and what its errors say."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import pytest

from airfleet.errors import SpecError
from airfleet.spec import load
from airfleet_provider.contract.sla_rules import Calendar, PromiseKind, SlaRule


def parse(text: str) -> tuple[SlaRule, ...]:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8).slas


WHOLE = """
slas:
  marts:
    dag: flights_.*
    task: publish
    finished_by: 06:00
    no_longer_than: 1h30m
    zone: Europe/Berlin
    days: [mon, tue, wed, thu, fri]
    holidays: [2026-12-25]
    since: 22:00
    severity: warning
"""


def test_each_promise_of_an_entry_is_a_rule() -> None:
    by, longest = parse(WHOLE)
    calendar = Calendar("Europe/Berlin", frozenset(range(5)), frozenset({date(2026, 12, 25)}))
    assert (by.kind, by.at, by.since, by.calendar) == (PromiseKind.FINISHED_BY, time(6), time(22), calendar)
    assert (longest.kind, longest.limit_s, longest.at) == (PromiseKind.NO_LONGER_THAN, 5400, None)
    assert (by.dag, by.task, by.severity) == (longest.dag, longest.task, longest.severity)


def test_a_rule_survives_the_way_to_the_engine() -> None:
    for rule in (*parse(WHOLE), *parse("slas: {a: {asset: sales, fresh_by: '07:00'}, b: {tag: x, must_run: 26h}}")):
        assert SlaRule.from_json(rule.to_json()) == rule


@pytest.mark.parametrize(
    ("entry", "line", "said"),
    [
        ("dag: x", 3, "promises nothing"),
        ("finished_by: 06:00", 3, "selects no Dag"),
        ("dag: x\n    fresh_by: 06:00", 3, "`fresh_by` is about assets"),
        ("dag: x\n    must_run: 1d\n    asset: x", 3, "nothing is promised about it"),
        ("dag: x\n    finished_by: '6:00'", 5, "a time of day such as 06:00"),
        ("dag: x\n    must_run: 1 day", 5, "write it as 90s, 45m, 2h or 1h30m"),
        ("dag: x\n    must_run: 400d", 5, "longer than a year"),
        ("dag: x\n    must_rum: 1d", 5, "did you mean 'must_run'?"),
        ("dag: (\n    must_run: 1d", 4, "not a regular expression"),
        ("dag: x\n    must_run: 1d\n    zone: Mars", 6, "IANA database"),
        ("dag: x\n    finished_by: 06:00\n    holidays: [2026-02-30]", 6, "not a date"),
    ],
)
def test_an_error_has_its_line_and_a_hint(entry: str, line: int, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(f"x-a: 1\nslas:\n  marts:\n    {entry}\n")
    assert f"fleet.yaml:{line}: " in str(caught.value)
    assert said in str(caught.value)


def test_a_rule_matches_whole_names() -> None:
    (rule,) = parse("slas: {a: {dag: 'flights_.*', tag: daily, owner: bi, must_run: 1d}}")
    assert rule.matches_dag("flights_marts", ["hourly", "daily"], ["bi"])
    assert not rule.matches_dag("old_flights_marts", ["daily"], ["bi"])
    assert not rule.matches_dag("flights_marts", ["daily2"], ["bi"])
    assert not rule.matches_dag("flights_marts", ["daily"], [])
    (fresh,) = parse("slas: {a: {asset: 's3://x/.*', fresh_by: '07:00'}}")
    assert fresh.matches_asset("sales", "s3://x/sales")
    assert not fresh.matches_dag("sales", [], [])


@pytest.mark.parametrize(
    ("day", "at", "moment"),
    [
        # Clocks go from 02:00 to 03:00: 02:30 does not exist.
        (date(2026, 3, 29), time(2, 30), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        (date(2026, 3, 29), time(6), datetime(2026, 3, 29, 4, tzinfo=UTC)),
        (date(2026, 3, 28), time(6), datetime(2026, 3, 28, 5, tzinfo=UTC)),
        # Clocks go from 03:00 to 02:00: 02:30 comes twice, and the first one counts.
        (date(2026, 10, 25), time(2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (date(2026, 10, 25), time(6), datetime(2026, 10, 25, 5, tzinfo=UTC)),
    ],
)
def test_a_local_time_is_right_on_the_days_when_clocks_change(day: date, at: time, moment: datetime) -> None:
    assert Calendar("Europe/Berlin").find_moment(day, at) == moment


def test_runs_count_from_the_deadline_of_the_day_before_or_from_since() -> None:
    berlin = Calendar("Europe/Berlin")
    plain = SlaRule("a", PromiseKind.FINISHED_BY, dag=".*", at=time(6), calendar=berlin)
    assert plain.find_start(date(2026, 3, 29)) == datetime(2026, 3, 28, 5, tzinfo=UTC)
    assert plain.find_due(date(2026, 3, 29)) - plain.find_start(date(2026, 3, 29)) == (
        datetime(2026, 3, 29, 23) - datetime(2026, 3, 29)
    ), "the day has 23 hours"
    evening = SlaRule("a", PromiseKind.FINISHED_BY, dag=".*", at=time(6), since=time(22), calendar=berlin)
    assert evening.find_start(date(2026, 3, 29)) == datetime(2026, 3, 28, 21, tzinfo=UTC)
    morning = SlaRule("a", PromiseKind.FINISHED_BY, dag=".*", at=time(6), since=time(1), calendar=berlin)
    assert morning.find_start(date(2026, 3, 29)) == datetime(2026, 3, 29, 0, tzinfo=UTC)
