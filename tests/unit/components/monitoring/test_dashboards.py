"""The dashboards: the shipped files are what the definitions say, and every query reads what something exports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

import expositions
from airfleet.components.monitoring import grafana, rule_files
from airfleet_provider.contract.dashboards.catalogue import DASHBOARDS, MARKS
from airfleet_provider.contract.log_metrics import LOG_METRICS, STORE_METRICS
from airfleet_provider.contract.metrics import METRICS

ROOT = Path(__file__).parents[4]
RULES = [
    rule
    for text in rule_files.read_shipped().values()
    for group in yaml.safe_load(text)["groups"]
    for rule in group["rules"]
]
EXPORTED = {*METRICS, *(metric.name for metric in (*LOG_METRICS, *STORE_METRICS))}
EXPRESSIONS = [
    *(query.expr for board in DASHBOARDS for panel in board.panels for query in panel.queries),
    *(mark.expr for mark in MARKS),
    *(rule["expr"] for rule in RULES),
]
RECORDED = {name for file in expositions.RECORDED.glob("*.prom") for name in expositions.list_names(file.read_text())}


def test_the_shipped_files_are_what_the_definitions_say() -> None:
    command = [sys.executable, str(ROOT / "tools" / "dashboards.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_every_query_and_rule_reads_metrics_that_something_exports(expr: str) -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    names = (
        "archive_age_seconds",
        "archive_complete_age_seconds",
        "backup_age_seconds",
        "certificate_expiry_timestamp_seconds",
    )
    limits = {f"airfleet:limit:{name}" for name in names}
    assert set(re.findall(r"airfleet:\w+:\w+", expr)) <= recorded | limits
    for name in re.findall(r"\bairfleet_[a-z_]+", expr):
        assert name in EXPORTED or re.sub(r"_(bucket|count|sum)$", "", name) in EXPORTED, name
    assert set(re.findall(r"\b(?:node|pg|haproxy|rabbitmq|etcd)_\w+", expr)) <= RECORDED


def test_the_panels_of_a_dashboard_have_different_titles() -> None:
    for board in DASHBOARDS:
        titles = [panel.title for panel in board.panels]
        assert sorted(set(titles)) == sorted(titles), board.name


def test_grafana_finds_the_data_source_that_the_dashboards_name() -> None:
    files = grafana.list_files(Path("/g"), "https://10.0.0.13:9090", "authority\n")
    [source] = yaml.safe_load(files[Path("/g/datasources/airfleet.yaml")])["datasources"]
    assert (source["url"], source["secureJsonData"]["tlsCACert"]) == ("https://10.0.0.13:9090", "authority\n")
    [provider] = yaml.safe_load(files[Path("/g/dashboards/airfleet.yaml")])["providers"]
    boards = {path for path in files if str(path).startswith(provider["options"]["path"])}
    assert {path.stem for path in boards} == {board.name for board in DASHBOARDS}
    for path in boards:
        assert find_sources(json.loads(files[path])) == {source["uid"]}


def find_sources(value: Any) -> set[str]:  # noqa: ANN401 - of a JSON document
    """The uids of all data sources that a document names."""
    match value:
        case {"type": "prometheus", "uid": str(uid)}:
            return {uid}
        case dict():
            return set().union(*map(find_sources, value.values()))
        case list():
            return set().union(*map(find_sources, value))
        case _:
            return set()


def test_every_dashboard_is_shipped() -> None:
    folder = resources.files("airfleet.components.monitoring") / "dashboards"
    assert {file.name for file in folder.iterdir()} == {f"{board.name}.json" for board in DASHBOARDS}
