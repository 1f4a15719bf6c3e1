"""Which secrets there are, and how somebody requests new values of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from airfleet.errors import UsageError
from airfleet.spec.secrets import Secret
from airfleet.workspace import credentials, secret_files
from airfleet.workspace.rotation import NAME, RotationLedger
from airfleet.workspace.state_folder import StateFolder
from command_line import invoke
from places import NINE, parse

NOW = 1_000_000.0
DAY = 86_400.0
POOLS = ("default",)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """A platform with two secrets that are at work, a login of one machine, a person, and files that are no secrets."""
    project = tmp_path / "project"
    (project / "dags").mkdir(parents=True)
    (project / "fleet.yaml").write_text("name: x\n")
    folder = StateFolder(project / ".airfleet")
    folder.create()
    ledger = RotationLedger(folder.secrets)
    for name in ("jwt_secret", "postgres_airflow"):
        ledger.notice(name, Secret(f"former {name}"))
    ledger.write()
    for name in ("jwt_secret", "postgres_airflow", "broker_cookie", "user_ann.b", "identity", "metadata_dsn"):
        path = folder.secrets / name
        path.write_text(f"former {name}")
        os.utime(path, (NOW - DAY, NOW - DAY))
    (folder.secrets / "inputs").mkdir()
    return folder


def find_states(folder: StateFolder) -> dict[str, str]:
    return {one.name: one.state for one in secret_files.list_secrets(folder, NOW, pools=POOLS)}


def rotate(folder: StateFolder, *words: str) -> str:
    done = invoke("secrets", "rotate", "--project", str(folder.root.parent), *words, catch_exceptions=False)
    return done.output


def test_secrets_have_an_age_and_no_value(folder: StateFolder) -> None:
    found = list(secret_files.list_secrets(folder, NOW, pools=POOLS))
    assert [one.name for one in found] == ["broker_cookie", "jwt_secret", "postgres_airflow", "user_ann.b"]
    assert {one.age_s for one in found} == {DAY}
    done = invoke("secrets", "list", "--project", str(folder.root.parent))
    assert "former" not in done.output
    assert "jwt_secret" in done.output


def test_where_no_secrets_are_none_were_requested(folder: StateFolder) -> None:
    words = ("secrets", "rotate", "--project", str(folder.root.parent), "--state", str(folder.root / "new"), "--all")
    done = invoke(*words)
    assert isinstance(done.exception, UsageError)
    assert "no secrets yet" in str(done.exception)


def test_a_new_value_is_made_beside_the_former_one_which_the_ledger_keeps(folder: StateFolder) -> None:
    assert "jwt_secret" in rotate(folder, "jwt_secret")
    assert find_states(folder)["jwt_secret"] == secret_files.DUE
    # What `apply` does next.
    ledger = RotationLedger(folder.secrets)
    entry = ledger.notice("jwt_secret", folder.keep_secret("jwt_secret"))
    ledger.write()
    assert [one.value.reveal() for one in entry.held[:-1]] == ["former jwt_secret"]
    assert find_states(folder)["jwt_secret"] == "accept"
    assert find_states(folder)["postgres_airflow"] == secret_files.SETTLED


def test_all_are_all_but_the_passwords_of_people_and_a_second_request_adds_nothing(folder: StateFolder) -> None:
    assert {"broker_cookie", "jwt_secret", "postgres_airflow"} <= set(rotate(folder, "--all").splitlines())
    assert sorted(
        path.name for path in folder.secrets.iterdir() if path.is_file() and "rotations" not in path.name
    ) == [*("identity", "metadata_dsn", "user_ann.b")]
    assert "requested already" in rotate(folder, "jwt_secret")


def test_a_rotation_under_way_gets_no_second_value_unless_somebody_wants_it(folder: StateFolder) -> None:
    rotate(folder, "jwt_secret")
    ledger = RotationLedger(folder.secrets)
    ledger.notice("jwt_secret", folder.keep_secret("jwt_secret"))
    ledger.write()
    new = (folder.secrets / "jwt_secret").read_text()
    said = rotate(folder, "jwt_secret", "postgres_airflow")
    assert "jwt_secret: its last rotation is under way" in said
    assert "1 new value requested" in said
    assert (folder.secrets / "jwt_secret").read_text() == new
    rotate(folder, "jwt_secret", "--again")
    assert not (folder.secrets / "jwt_secret").exists()


def test_a_state_folder_that_is_not_there_is_a_mistake(folder: StateFolder) -> None:
    project = str(folder.root.parent)
    done = invoke("secrets", "list", "--project", project, "--state", str(folder.root / "wrong"))
    assert isinstance(done.exception, UsageError)
    assert "no state folder" in str(done.exception)


def test_every_secret_of_a_fleet_can_have_a_new_value_and_nothing_else_is_one(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.create()
    fleet = parse(NINE)
    credentials.read(folder, RotationLedger(folder.secrets), fleet)
    pools = [pool.name for pool in fleet.pools]
    found = {one.name: one.state for one in secret_files.list_secrets(folder, NOW, pools=pools)}
    assert set(found.values()) == {secret_files.SETTLED}, "the ledger has entries that are no secrets"
    assert not found.keys() & set(credentials.INTRODUCED)


def test_the_login_of_a_removed_pool_stays_while_its_workers_drain(folder: StateFolder) -> None:
    for pool in ("default", "removed"):
        (folder.secrets / f"rabbitmq_pool_{pool}").write_text("x")
    assert "rabbitmq_pool_default" in rotate(folder, "--all").splitlines()
    assert credentials.list_former_pools(folder, POOLS) == ("removed",)
    with pytest.raises(UsageError, match="no secret"):
        secret_files.request(folder, ["rabbitmq_pool_removed"], now=NOW, pools=POOLS)


def test_a_project_that_cannot_be_read_changes_nothing(folder: StateFolder) -> None:
    (folder.root.parent / "fleet.yaml").write_text("name: [")
    done = invoke("secrets", "rotate", "--project", str(folder.root.parent), "jwt_secret")
    assert done.exception
    assert (folder.secrets / "jwt_secret").exists()


@pytest.mark.parametrize("name", ["nonsense", "identity", NAME, "../fleet.yaml", ""])
def test_a_name_that_is_no_secret_changes_nothing(folder: StateFolder, name: str) -> None:
    with pytest.raises(UsageError, match="no secret"):
        secret_files.request(folder, ["jwt_secret", name], now=NOW, pools=POOLS)
    assert (folder.secrets / "jwt_secret").exists()


def test_without_the_ledger_nobody_would_know_the_former_values(folder: StateFolder) -> None:
    for path in folder.secrets.glob("rotations*"):
        path.unlink()
    with pytest.raises(UsageError, match="ledger"):
        secret_files.request(folder, ["jwt_secret"], now=NOW, pools=POOLS)
    assert (folder.secrets / "jwt_secret").exists()


def test_what_is_asked_for_must_be_said(folder: StateFolder) -> None:
    for words in ([], ["--all", "jwt_secret"]):
        done = invoke("secrets", "rotate", "--project", str(folder.root.parent), *words)
        assert isinstance(done.exception, UsageError)
    assert json.loads((folder.secrets / NAME).read_text()).keys() == {"jwt_secret", "postgres_airflow"}


def test_a_request_in_the_middle_of_an_apply_ends_with_a_new_value(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is removed after the apply has seen it."""
    (folder.secrets / "jwt_secret").unlink()
    monkeypatch.setattr(Path, "exists", lambda _: True)
    made = folder.keep_secret("jwt_secret").reveal()
    assert (folder.secrets / "jwt_secret").read_text() == made
