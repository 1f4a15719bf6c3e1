"""`airfleet db archive` and `airfleet db care`: what they run where the database can be reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airfleet.cli import db_archive, db_care
from airfleet.errors import UsageError
from command_line import invoke

HOSTS = "hosts:\n  one: {address: 10.0.0.1}\n"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    calls: list[tuple[str, ...]] = []
    for module in (db_archive, db_care):
        monkeypatch.setattr(module, "run_airflow", lambda *words: calls.append(words[-1]))
    return calls


def call(project: Path, *words: str, fleet: str = "", care: bool = False) -> Any:  # noqa: ANN401 - click's result
    (project / "fleet.yaml").write_text(fleet)
    (project / "dags").mkdir(exist_ok=True)
    return invoke("db", "care" if care else "archive", *words, "--project", str(project))


def read(words: tuple[str, ...], option: str) -> str:
    return words[words.index(option) + 1]


def test_retention_and_store_of_fleet_yaml_are_used(tmp_path: Path, ran: list[tuple[str, ...]]) -> None:
    call(tmp_path, "run", "--json", fleet="archive: {retention: 10, store: s3://bucket/runs, budget: 60, pause: 2}")
    [words] = ran
    assert words[:3] == ("airfleet", "archive", "run")
    assert (read(words, "--store"), read(words, "--budget"), read(words, "--pause")) == (
        "s3://bucket/runs",
        "60",
        "2.0",
    )
    age = datetime.now(UTC) - datetime.fromisoformat(read(words, "--before"))
    assert abs(age - timedelta(days=10)) < timedelta(minutes=5)
    assert "--json" in words


def test_one_machine_has_a_store_and_a_fleet_must_name_one(tmp_path: Path, ran: list[tuple[str, ...]]) -> None:
    call(tmp_path, "list")
    assert read(ran[0], "--store") == str(tmp_path / ".airfleet" / "archive")
    refused = call(tmp_path, "list", fleet=HOSTS)
    assert isinstance(refused.exception, UsageError)
    assert "archive: {store:" in str(refused.exception)
    assert len(ran) == 1


def test_a_list_can_be_narrowed_to_a_dag_and_a_time(tmp_path: Path, ran: list[tuple[str, ...]]) -> None:
    call(tmp_path, "list", "--dag", "flights", "--from", "2026-03-01")
    assert (read(ran[0], "--dag"), read(ran[0], "--from")[:10]) == ("flights", "2026-03-01")
    assert "--to" not in ran[0]


def test_sql_reaches_the_host_as_one_word(tmp_path: Path, ran: list[tuple[str, ...]]) -> None:
    call(tmp_path, "query", "SELECT 'a b' FROM dag_run")
    assert read(ran[0], "--sql") == "SELECT 'a b' FROM dag_run"


def test_moments_are_read_here_and_bad_ones_refused(tmp_path: Path, ran: list[tuple[str, ...]]) -> None:
    call(tmp_path, "restore", "--dag", "a", "--from", "2026-03-01", "--to", "2026-04-01 12:00")
    assert (read(ran[0], "--from"), read(ran[0], "--to")) == ("2026-03-01T00:00:00+00:00", "2026-04-01T12:00:00+00:00")
    refused = call(tmp_path, "restore", "--dag", "a", "--from", "yesterday", "--to", "2026-04-01")
    assert isinstance(refused.exception, UsageError)


def test_care_plans_or_acts(tmp_path: Path, ran: list[tuple[str, ...]]) -> None:
    call(tmp_path, "--dry-run", "--json", care=True)
    call(tmp_path, care=True)
    assert ran == [("airfleet", "care", "plan", "--json"), ("airfleet", "care", "run")]
