"""Each alert has a test in which it fires, says what to do, and has a page. The tests of rules/ run in promtool:
tests/services/components/test_alert_rules.py."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from airfleet.cli.main import cli
from airfleet.components.monitoring import rule_files
from places import parse, with_setting

ROOT = Path(__file__).parents[4]
FOLDER = Path(__file__).parent / "rules"
TESTS = sorted(FOLDER.glob("*.yaml"))
FLEET = "name: flights\nhosts: {one: {address: 127.0.0.1}}\n"
TEXTS = rule_files.list_files(parse(FLEET))
ALERTS = [
    rule
    for text in TEXTS.values()
    for group in yaml.safe_load(text)["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
NAMES = sorted({rule["alert"] for rule in ALERTS})


def list_tested() -> Iterator[tuple[str, str]]:
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                for one in case["exp_alerts"]:
                    yield case["alertname"], one["exp_labels"]["severity"]


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    assert {(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS} == set(list_tested())


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_every_alert_says_what_it_is_why_and_what_to_type_first(rule: dict[str, Any]) -> None:
    said = rule["annotations"]
    assert set(said) == {"summary", "description", "causes", "first_command", "runbook"}
    assert all(text.strip() for text in said.values())
    assert "\n" not in said["summary"]
    parse_command(re.sub(r"{{ \$labels[.](\w+) }}", r"\1", said["first_command"]))
    assert rule["labels"]["severity"] in {"critical", "warning", "none"}


def parse_command(line: str) -> None:
    """Parse a command line of airfleet as it would.

    Raises:
        click.UsageError: There is no such command, or something is missing or too much.
    """
    program, *words = shlex.split(line)
    assert program == "airfleet"
    command: click.Command = cli
    # With its settings: click keeps the help option with a command, and a later test would not find `-h`.
    name, context = "airfleet", click.Context(cli, **cli.context_settings)
    while isinstance(command, click.Group):
        # A group may put a command before the words, as `airfleet logs` does.
        command.parse_args(context, words)
        words = [*context._protected_args, *context.args]
        found, inner, words = command.resolve_command(context, words)
        assert found and inner
        name, command, context = found, inner, click.Context(inner, parent=context)
    command.make_context(name, words, parent=context.parent)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_has_a_page_with_its_name_and_its_first_command(name: str) -> None:
    for rule in (rule for rule in ALERTS if rule["alert"] == name):
        page = (ROOT / "docs" / rule["annotations"]["runbook"]).read_text()
        assert page.startswith(f"# {name}\n")
        assert rule["annotations"]["first_command"].split(" {{")[0] in page


def test_no_page_describes_an_alert_that_does_not_exist() -> None:
    named = {rule["annotations"]["runbook"] for rule in ALERTS}
    pages = {f"runbooks/{page.name}" for page in (ROOT / "docs" / "runbooks").glob("*.md")} - {"runbooks/index.md"}
    assert pages == named


def test_a_backup_may_be_as_old_as_fleet_yaml_says() -> None:
    weekly = with_setting(f"{FLEET}backups: {{every_hours: 24}}\n", "24", "168")
    [group] = yaml.safe_load(rule_files.render_limits(parse(weekly)))["groups"]
    assert {"record": "airfleet:limit:backup_age_seconds", "expr": f"vector({170 * 3600})"} in group["rules"]


def test_an_archive_of_runs_may_be_as_old_as_fleet_yaml_says() -> None:
    text = rule_files.render_limits(parse("archive: {every_hours: 6, budget: 1800}\n"))
    assert f"vector({(6 + 2) * 3600 + 1800})" in text
    assert "archive_age_seconds" not in rule_files.render_limits(parse("name: flights\n"))


def test_one_machine_has_no_limit_of_the_age_of_a_backup_as_nothing_makes_backups_there() -> None:
    assert "backup_age_seconds" not in rule_files.render_limits(parse("name: flights\n"))
