"""What the audit log shows of a command of Airflow."""

from __future__ import annotations

import json

import pytest

from airfleet_provider.audit import airflow_commands


@pytest.mark.parametrize(
    ("line", "words", "options"),
    [
        ("airflow variables set key hunter2", ["variables", "set", "key"], []),
        ("airflow users create -u bob -phunter2 --email=hunter2@x", ["users", "create"], ["-u", "-p", "--email"]),
        ('airflow dags trigger etl -c{"token":"hunter2"}', ["dags", "trigger", "etl"], ["-c"]),
        ("airflow variables set key -- --hunter2", ["variables", "set", "key"], []),
        ("airflow pools set -- hunter2", ["pools", "set"], []),
    ],
)
def test_no_value_of_an_option_is_shown(line: str, words: list[str], options: list[str]) -> None:
    entry = airflow_commands.make_entry("name", "root", "web1", line.split())
    assert (entry.detail["words"], entry.detail["options"]) == (words, options)
    assert "hunter2" not in json.dumps(entry.detail)
