"""`airfleet status` of one machine."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import psycopg
import pytest

from airfleet.spec.secrets import Secret
from airfleet.workspace.state_folder import ProcessStatus, Snapshot, StateFolder
from command_line import invoke


@pytest.mark.parametrize(("phase", "times"), [("waiting", 0), ("starting", 0), ("done", 1)])
def test_no_table_is_read_before_the_tables_are_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, phase: str, times: int
) -> None:
    metadata = ProcessStatus("metadata", phase, None, 0.0, 0, "", "")
    snapshot = Snapshot("shop", str(tmp_path), 1, 1.0, "starting", "", 1.0, (), (metadata,))
    monkeypatch.setattr(StateFolder, "read_snapshot", lambda _: snapshot)
    monkeypatch.setattr(StateFolder, "is_held", lambda _: True)
    monkeypatch.setattr("airfleet.cli.status.is_alive", lambda _: True)
    reader = SimpleNamespace(list_broken_files=Mock(return_value=[]), close=Mock())
    monkeypatch.setattr("airfleet.cli.view.open_reader", lambda _: reader)

    assert json.loads(invoke("status", str(tmp_path), "--json").stdout)["phase"] == "starting"
    assert reader.list_broken_files.call_count == reader.close.call_count == times


def test_a_database_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("name: shop\ndags: releases\n")
    metadata = ProcessStatus("metadata", "done", None, 0.0, 0, "", "")
    database = ProcessStatus("postgres", "unhealthy", None, 0.0, 0, "timeout expired", "")
    snapshot = Snapshot("shop", str(tmp_path), 1, 1.0, "unhealthy", "", 1.0, (), (metadata, database))
    monkeypatch.setattr(StateFolder, "read_snapshot", lambda _: snapshot)
    monkeypatch.setattr(StateFolder, "is_held", lambda _: True)
    monkeypatch.setattr(StateFolder, "read_dsn", lambda _: Secret("postgresql://127.0.0.1"))
    monkeypatch.setattr("airfleet.cli.status.is_alive", lambda _: True)
    wait = Mock(side_effect=psycopg.errors.ConnectionTimeout("connection timeout expired"))
    monkeypatch.setattr("airfleet.runners.local.platform_reader.connect", wait)

    done = invoke("status", str(tmp_path))
    assert (done.exit_code, "timeout expired" in done.stdout) == (1, True)
    assert wait.call_count == 1
