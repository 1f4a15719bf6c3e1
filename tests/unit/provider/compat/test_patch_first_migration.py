"""Only the first migration of a database is not recorded by Airflow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from airflow.utils import cli_action_loggers

from airfleet_provider.compat.patches import first_migration
from airfleet_provider.compat.patches.patch import undo

PRE = "__pre_exec_callbacks"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The commands that Airflow records."""
    found: list[str] = []
    monkeypatch.setattr(cli_action_loggers, PRE, [lambda sub_command, **_: found.append(sub_command)])
    first_migration.record_no_first_migration()
    yield found
    undo(first_migration.PATCH)


@pytest.mark.parametrize(
    ("command", "has_log", "is_recorded"),
    [("migratedb", False, False), ("migratedb", True, True), ("dag_list_dags", False, True)],
)
def test_a_command_is_recorded_where_it_can_be(
    recorded: list[str], monkeypatch: pytest.MonkeyPatch, command: str, has_log: bool, is_recorded: bool
) -> None:
    monkeypatch.setattr(first_migration, "_has_log", lambda: has_log)
    cli_action_loggers.on_pre_execution(sub_command=command)
    assert recorded == [command] * is_recorded
