"""Commands on one machine answer at once: they import nothing that only a fleet or a start of a platform needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airfleet.workspace.project import digest_settings, find_state
from command_line import invoke
from deadline import COMMAND_S

LIST = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""
FLEET = ("airfleet.components.host_model", "airfleet.runners.fleet.transport.transport", "airfleet.runners.fleet.plan")
START = ("airfleet.runners.local.launch", "airfleet.components.one_machine")


@pytest.mark.parametrize("command", ["status", "release"])
def test_a_command_imports_only_what_it_needs(command: str) -> None:
    words = [sys.executable, "-c", LIST, f"airfleet.cli.{command}", *FLEET, *START]
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert done.stdout.strip() == ""


STATUS = """
import sys
import airfleet.cli.main, airfleet.cli.status, airfleet.runners.local.platform_reader
from airfleet.cli import view
from airfleet.workspace import project
from pathlib import Path
assert project.has_releases(Path(sys.argv[1]))
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""
# What it costs half a second to import, and `airfleet status` of one machine does without.
HEAVY = (
    "airfleet.spec.load",
    "airfleet.releases.repository",
    "airfleet.runners.local.checks",
    "httpx",
    "amqp",
    "pydantic",
)


def test_status_does_not_parse_the_fleet_yaml_of_the_last_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text("name: shop\ndags: releases\n")
    folder = find_state(tmp_path, None)
    folder.create()
    folder.note_settings(digest_settings(tmp_path))
    monkeypatch.setattr("airfleet.workspace.project.read_fleet", lambda _: pytest.fail("it was parsed"))
    assert "no platform runs here" in invoke("status", str(tmp_path)).stderr


def test_status_reads_the_database_without_what_checks_and_releases_import(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("name: shop\ndags: releases\n")
    words = [sys.executable, "-c", STATUS, str(tmp_path), *HEAVY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert done.stdout.strip() == ""
