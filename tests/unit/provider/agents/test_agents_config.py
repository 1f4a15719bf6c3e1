"""The file that tells the agents process where it is and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airfleet_provider.agents.process import read_config

AWAY = {"host": "127.0.0.1", "port": 1, "connect_timeout": 1, "user": "nobody", "dbname": "nothing"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"host": "here"}'])
def test_a_configuration_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agents.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match=r"agents\.json"):
        read_config(path)


def test_a_configuration_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "agents.json"
    config = {"host": "here", "database": AWAY, "server": {"address": "127.0.0.1", "port": 1}, "slas": {"a": 1}}
    path.write_text(json.dumps(config))
    assert read_config(path) == config
