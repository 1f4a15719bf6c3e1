"""A failure leaves one structured line, and reporting it never fails."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from include.alerts import report_failure

INSTANCE = SimpleNamespace(
    dag_id="flights_ingest", task_id="load", run_id="scheduled__2013-02-01", map_index=2, try_number=4
)


def test_a_failure_is_one_json_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLEET_STATE", str(tmp_path))
    report_failure({"ti": INSTANCE, "exception": ValueError("no such month")})
    report_failure({"ti": INSTANCE, "exception": None})
    first, second = (tmp_path / "flights" / "alerts.jsonl").read_text().splitlines()
    assert json.loads(first).items() >= {"task": "load", "map_index": 2, "try": 4, "error": "ValueError"}.items()
    assert json.loads(second)["message"] is None


def test_reporting_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flights").write_text("a file where a folder should be")
    monkeypatch.setenv("AIRFLEET_STATE", str(tmp_path))
    report_failure({"ti": INSTANCE})
    report_failure({})
