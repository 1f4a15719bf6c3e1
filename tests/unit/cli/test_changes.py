"""Every command of airfleet either leaves a row in the audit log, or is named as reading only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import click
import psycopg
import pytest

from airfleet.cli import audit
from airfleet.cli.changes import CHANGES, READS
from airfleet.cli.main import WATCHED, cli
from airfleet.errors import AirfleetError, DatabaseAwayError
from airfleet.operations import audit_spool, audited_commands, explanation, metadata_database
from airfleet.operations.scheduler_handover import SchedulerHandover
from airfleet.releases.repository import Repository
from airfleet.spec.secrets import Secret
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract.audit_log import BEGINNING, CUT, Head, Row, verify


def list_commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from list_commands(inner, (*path, name))


def test_every_command_is_recorded_or_reads_only() -> None:
    found = dict(list_commands(cli))
    assert set() == CHANGES & READS
    assert set(found) == CHANGES | READS
    assert {name: getattr(one.callback, WATCHED) for name, one in found.items()} == {name: name for name in found}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text("name: test\n")
    (tmp_path / ".airfleet").mkdir()
    return tmp_path


def read_spool(project: Path) -> list[dict[str, object]]:
    lines = (project / ".airfleet" / audit_spool.FOLDER / audit_spool.SPOOL).read_text().splitlines()
    return [json.loads(json.loads(line)["entry"]) for line in lines]


def test_a_command_has_two_rows_which_wait_for_the_database(project: Path) -> None:
    words = {"project": project, "pool": "cpu", "hosts": ("cpu1", "cpu2"), "as_json": True, "force": False}
    with audited_commands.record("workers drain", words, folder=project, state=None):
        [begun] = read_spool(project)
    begun, ended = read_spool(project)
    assert (begun["action"], begun["outcome"], ended["outcome"]) == ("airfleet workers drain", "begun", "done")
    assert isinstance(begun["detail"], dict)
    assert isinstance(ended["detail"], dict)
    assert begun["detail"]["arguments"] == {"pool": "cpu", "hosts": ["cpu1", "cpu2"]}
    # The rows may reach the database hours later, and get the time of that.
    assert begun["detail"]["at"] < ended["detail"]["at"]
    assert len(str(begun["before"])) == 64


def test_a_command_that_fails_has_its_exit_code(project: Path) -> None:
    with pytest.raises(SystemExit), audited_commands.record("apply", {}, folder=project, state=None):
        raise SystemExit(3)
    assert [(row["outcome"], row.get("status")) for row in read_spool(project)] == [("begun", None), ("failed", 3)]


@pytest.mark.parametrize(("error", "times"), [(AirfleetError("no"), 1), (DatabaseAwayError("away"), 0)])
def test_a_command_that_found_no_database_does_not_wait_for_it_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, error: AirfleetError, times: int
) -> None:
    opened = Mock()
    monkeypatch.setattr("airfleet.operations.audit.open_log", opened)
    with pytest.raises(type(error)), audited_commands.record("failover", {}, folder=project, state=None):
        raise error
    assert [row["outcome"] for row in read_spool(project)] == ["begun", "failed"]
    assert opened.call_count == times


def test_each_way_to_the_database_says_that_it_is_away(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".airfleet" / "secrets").mkdir()
    away = Mock(side_effect=psycopg.errors.ConnectionTimeout("connection timeout expired"))
    monkeypatch.setattr(psycopg, "connect", away)
    monkeypatch.setattr(StateFolder, "read_dsn", lambda _: Secret("postgresql://127.0.0.1"))
    monkeypatch.setattr(StateFolder, "is_held", lambda _: True)
    with pytest.raises(DatabaseAwayError), metadata_database.connect(None, project, None, what="rows"):
        pass
    place = explanation.find_place(project, None)
    with pytest.raises(DatabaseAwayError), explanation.open_database(place):
        pass
    with pytest.raises(DatabaseAwayError):
        SchedulerHandover(Secret("")).hand_over(timeout_s=1, notify=print)
    with pytest.raises(DatabaseAwayError):
        Repository(Secret(""), "shop").find_live()
    assert away.call_count == 4


def test_a_command_works_where_nothing_can_be_written(tmp_path: Path) -> None:
    with audited_commands.record("apply", {}, folder=tmp_path / "missing", state=None):
        pass


def test_a_line_that_a_kill_cut_off_spoils_no_other(project: Path) -> None:
    folder = StateFolder(project / ".airfleet")
    head = Head(1, "ab", "2026-01-01T00:00:00Z")
    audit_spool.keep_head(folder, head)
    path = folder.root / audit_spool.FOLDER / audit_spool.HEADS
    path.write_text(path.read_text() + '{"number": 2, "ha')
    later = Head(3, "cd", "2026-01-01T00:01:00Z")
    audit_spool.keep_head(folder, later)
    audit_spool.keep_head(folder, later)
    assert list(audit_spool.read_heads(folder)) == [head, later]


def test_the_last_head_of_a_long_file_is_known(project: Path) -> None:
    folder = StateFolder(project / ".airfleet")
    heads = [Head(number, "ab" * 32, "2026-01-01T00:00:00Z") for number in range(1, 61)]
    audit_spool.keep_head(folder, heads[0])
    path = folder.root / audit_spool.FOLDER / audit_spool.HEADS
    path.write_text("".join(f"{one.to_line()}\n" for one in heads))
    assert path.stat().st_size > 2 * audit_spool.LAST_BYTES
    audit_spool.keep_head(folder, heads[-1])
    assert path.read_text().count("\n") == len(heads)


def test_the_state_folder_knows_the_cuts_that_airfleet_made(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert audit_spool.read_cuts(folder) == frozenset()
    first = Row(1, datetime.now(UTC), "a", "{}", BEGINNING, "")
    first = replace(first, hash=first.compute_hash())
    entry = json.dumps({"action": CUT, "detail": {"number": 1, "hash": first.hash}})
    second = Row(2, datetime.now(UTC), "b", entry, first.hash, "")
    second = replace(second, hash=second.compute_hash())

    def find() -> list[int]:
        return [one.number for one in verify([second], None, (), cuts=audit_spool.read_cuts(folder))]

    assert find() == [1]
    audit_spool.keep_cut(folder, Head(1, first.hash, "2026-01-01T00:00:00Z"))
    assert find() == []


def test_a_row_that_waited_says_when_its_command_ran() -> None:
    entry = json.dumps({"detail": {"at": "2026-11-29T12:00:00.000000Z"}})
    at_once, late = (Row(1, datetime(2026, 11, 29, hour, tzinfo=UTC), "id", entry, "", "") for hour in (12, 14))
    assert audit.tell_wait(at_once) == ""
    assert audit.tell_wait(late).startswith("  (ran 2026-11-29 ")
    assert audit.tell_wait(replace(late, entry='{"detail": {"at": 5}}')) == ""
