"""The agents read again what changes when a host joins, and only then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airfleet_provider.agent_loops.hosts_file import HostsFile
from airfleet_provider.contract.agents_config import AgentsKey


def put(path: Path, slots: int) -> None:
    """Replace the file, as an apply does."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"metrics": {"workers": [{"pool": "cpu", "slots": slots}]}}))
    new.replace(path)


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hosts.json"
    put(path, 4)
    hosts = HostsFile({AgentsKey.HOSTS: str(path), AgentsKey.METRICS: {"version": "1"}})
    assert hosts.read(AgentsKey.METRICS)["workers"][0]["slots"] == 4
    put(path, 8)
    assert hosts.read(AgentsKey.METRICS)["workers"][0]["slots"] == 8
    assert hosts.read(AgentsKey.SLOTS) == {}
    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("it is the same file"))
    assert hosts.read(AgentsKey.METRICS)["workers"][0]["slots"] == 8


def test_a_broken_file_is_an_error_and_one_that_is_mended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text("{")
    hosts = HostsFile({AgentsKey.HOSTS: str(path)})
    for _ in range(2):
        with pytest.raises(ValueError, match="Expecting"):
            hosts.read(AgentsKey.METRICS)
    put(path, 4)
    assert hosts.read(AgentsKey.METRICS)["workers"][0]["slots"] == 4


def test_on_one_machine_the_sections_are_those_of_the_configuration() -> None:
    hosts = HostsFile({AgentsKey.METRICS: {"workers": []}, AgentsKey.SLOTS: {"rules": []}})
    assert hosts.read(AgentsKey.METRICS) == {"workers": []}
    assert hosts.read(AgentsKey.SLOTS) == {"rules": []}
