"""What `airfleet sla` prints, from rows as the database has them."""

from __future__ import annotations

import argparse
import csv
import io
import json
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from airfleet_provider.contract.sla_rules import Calendar, PromiseKind, SlaRule
from airfleet_provider.slas import command, reports
from airfleet_provider.slas.reports import EngineState, Row

NOW = datetime(2026, 3, 3, 6, 30, tzinfo=UTC)
RULE = SlaRule("marts", PromiseKind.FINISHED_BY, dag="marts", at=time(6), calendar=Calendar("Europe/Berlin"))
ENGINE = EngineState({("marts", "finished-by"): RULE}, NOW, NOW)
LATE: Row = {
    **{"id": 7, "rule": "marts", "kind": "finished-by", "dag_id": "marts", "task_id": "", "asset": ""},
    **{"occasion": "2026-03-03", "run_id": None, "state": "late", "starts_at": NOW, "changed_at": NOW},
    **{"due_at": NOW - timedelta(minutes=90), "expected_at": NOW, "reason": "load runs since 04:00 UTC in r1"},
    **{"fulfilled_at": None, "ended_at": None, "is_alerting": True},
}
TOTALS = (
    {"rule": "marts", "kind": "finished-by", "dag_id": "marts", "task_id": "", "asset": "", "met": 1233, "missed": 1}
    | {"never": 0, "worst": timedelta(minutes=23)},
    {"rule": "fresh", "kind": "fresh-by", "dag_id": "", "task_id": "", "asset": "sales", "met": 0, "missed": 0}
    | {"never": 0, "worst": None},
)


def ask(*rows: Row) -> reports.Query:
    return lambda statement, values: list(rows)


def words(**changes: Any) -> argparse.Namespace:  # noqa: ANN401
    plain = {"rule": None, "dag": None, "state": None, "all": False, "since": None, "until": None, "most": 20}
    return argparse.Namespace(**{**plain, "format": "text", **changes})


def test_a_late_promise_is_shown_in_its_zone_with_how_late_it_will_be(capsys: pytest.CaptureFixture[str]) -> None:
    command._list(words(), ask(LATE), ENGINE)
    line = capsys.readouterr().out.splitlines()[1]
    assert "late" in line
    assert "2026-03-03 06:00 CET" in line
    assert "1 h 30 min" in line
    assert "load runs since 04:00 UTC" in line


def test_a_name_of_an_asset_sends_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Airflow accepts every ASCII character in such a name."""
    asset = "sales\x1b]0;owned\x07\n7  met"
    command._list(words(), ask({**LATE, "dag_id": "", "asset": asset}), ENGINE)
    command._report(words(), ask({**TOTALS[1], "asset": asset}))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert len(shown.splitlines()) == 4
    assert shown.count(r"sales\x1b]0;owned\x07\n7  met") == 2


def test_csv_and_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    command._list(words(format="csv"), ask(LATE), ENGINE)
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    command._list(words(format="json"), ask(LATE), ENGINE)
    (shown,) = json.loads(capsys.readouterr().out)
    assert row["late_s"] == str(shown["late_s"]) == "5400"
    assert (row["due_at"], row["reason"]) == (shown["due_at"], shown["reason"])


def test_a_report_ends_with_the_share_and_never_rounds_it_up(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = words(since="2026-02-01", until="2026-03-01")
    command._report(chosen, ask(*TOTALS))
    *_, last = capsys.readouterr().out.splitlines()
    assert last == "met 99.9 % from 2026-02-01 00:00 to 2026-03-01 00:00 UTC: 1233 of 1234"
    command._report(argparse.Namespace(**{**vars(chosen), "format": "json"}), ask(*TOTALS))
    shown = json.loads(capsys.readouterr().out)
    assert (shown["met"], shown["missed"], shown["met_percent"]) == (1233, 1, 99.919)
    assert shown["promises"][1]["met_percent"] is None
    command._report(argparse.Namespace(**{**vars(chosen), "format": "csv"}), ask(*TOTALS))
    assert capsys.readouterr().out.splitlines()[1] == "marts,finished-by,marts,1233,1,0,99.919,1380.0"


def test_an_unknown_rule_and_a_wrong_moment_are_named() -> None:
    with pytest.raises(SystemExit, match="known rules: marts"):
        command._show(words(rule="mart"), ask(), ENGINE)
    with pytest.raises(SystemExit, match="'yesterday' is not a moment"):
        command._report(words(since="yesterday"), ask())


def test_an_engine_that_does_not_work_is_noticed() -> None:
    assert not ENGINE.is_stale
    assert EngineState({}, NOW - timedelta(minutes=6), NOW).is_stale
    assert reports.read_engine(ask()).is_stale
