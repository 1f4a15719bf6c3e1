"""The findings that a deploy prints, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

import places
from airfleet.cli import release, release_check
from airfleet.cli.test import keep_plain
from airfleet.errors import UsageError
from airfleet.releases.checks import formats
from airfleet.releases.checks.findings import Finding
from airfleet.spec import load
from airfleet.workspace import airflow_version
from airfleet.workspace.state_folder import StateFolder

STOPS = Finding("tags", "error", "dags/a.py", 4, "a", None, "a has no tags", "add one")
WARNS = Finding("retries", "warning", "dags/b.py", 9, "b", "t", "t is not tried again", "")


def test_every_format_can_be_asked_for() -> None:
    assert sorted(formats.FORMATS) == list(release_check.FORMATS)


def test_a_deploy_lists_what_stops_it_and_counts_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    release_check.report((STOPS, WARNS))
    told = capsys.readouterr().err
    assert "dags/a.py:4: error[tags]: a has no tags" in told
    assert "dags/b.py" not in told
    assert "1 warning: `airfleet release check` lists" in told
    release_check.report(())
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "queues"),
    [
        ("name: x", None),
        ("pools: {gpu: {concurrency: 1}}", {"gpu"}),
        ("pools: {heavy: {concurrency: 1, queues: [gpu, memory]}}", {"gpu", "memory"}),
    ],
)
def test_the_queues_are_those_of_the_pools(text: str, queues: set[str] | None) -> None:
    fleet = load.parse(text, file="fleet.yaml", default_name="x", cpus=2)
    assert release_check.list_queues(fleet) == queues


def test_the_tests_of_who_deploys_see_no_key_and_no_agent() -> None:
    given = {"PATH": "/bin", "HOME": "/home/ann", "LC_ALL": "C", "SSH_AUTH_SOCK": "/tmp/agent", "AWS_SECRET_KEY": "k"}
    assert keep_plain(given) == {"PATH": "/bin", "HOME": "/home/ann", "LC_ALL": "C"}


def test_a_release_of_a_fleet_names_the_airflow_that_the_fleet_runs(tmp_path: Path) -> None:
    airflow_version.write(StateFolder(tmp_path), airflow_version.Running("3.3.1"))
    assert release._find_versions(places.parse(places.NINE), tmp_path, tmp_path) == ("3.3.1", "")


@pytest.mark.parametrize("folder", ["dags/state", "include"])
def test_no_release_is_made_of_a_folder_that_holds_the_secrets(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="secrets"):
        release._require_apart(tmp_path / folder, tmp_path)
    release._require_apart(tmp_path / ".airfleet", tmp_path)
