"""`airfleet release check`: what would break if the Dags as they are now went live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from airfleet.errors import AirfleetError
from airfleet.releases.checks import formats, project_tests, registry, ruff
from airfleet.releases.checks.facts import Facts, Inventory, ParsedFile
from airfleet.releases.checks.findings import Finding
from airfleet.releases.ledger import Deployment, Ledger
from airfleet.spec.fleet import Fleet

TEXT_SUFFIXES = (".py",)


def examine(
    ledger: Ledger,
    release: str,
    project: Path,
    fleet: Fleet,
    contents: Mapping[str, bytes],
    *,
    actor: str,
    with_tests: bool,
    notify: Callable[[Deployment], None],
) -> tuple[Finding, ...]:
    """All findings about a release that was built; its files are parsed by the platform it would run on."""
    ended = ledger.wait(ledger.request("check", release, actor=actor, reason="check"), notify)
    if ended.state == "failed":
        raise AirfleetError(str(ended.detail.get("message", "the check failed")), where=release)
    levels = fleet.checks.levels
    facts = Facts(
        files={path: body.decode(errors="replace") for path, body in contents.items() if path.endswith(TEXT_SUFFIXES)},
        parses=tuple(ParsedFile.from_json(one) for one in ledger.read_parses(ended.detail["keys"].values())),
        now=datetime.now(UTC),
        inventory=Inventory(**ledger.list_objects()),
        rules=fleet.checks,
        migrations=ruff.check(project) if levels["airflow-2-code"] != "off" else (),
        tests=project_tests.run(project) if with_tests and levels["project-tests"] != "off" else None,
    )
    return registry.run(facts)


def write(findings: tuple[Finding, ...], format_name: str) -> None:
    """Print findings; the text format is talk and goes to stderr, the others are data."""
    click.echo(formats.FORMATS[format_name](findings), nl=False, err=format_name == "text")
