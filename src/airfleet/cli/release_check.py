"""`airfleet release check`: what would break if the project's present Dags went live."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import test
from airfleet.errors import AirfleetError
from airfleet.releases.repository import Repository
from airfleet.spec import load, yaml_document
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import DEFAULT_POOLS
from airfleet_provider.contract.release_list import Deployment
from airfleet_provider.contract.release_schema import DeploymentAction, DeploymentState
from airfleet_provider.contract.sla_rules import SlaRule

if TYPE_CHECKING:
    from airfleet.releases.checks.findings import Finding
    from airfleet.releases.checks.inputs import ProjectTests

# The checks are imported while the platform parses.
# ruff: noqa: PLC0415

FORMATS = ("github", "json", "sarif", "text")
# Reading 500 files makes many objects and little garbage.
GARBAGE = 50_000


def examine(
    repository: Repository,
    release: str,
    project: Path,
    fleet: Fleet,
    contents: Mapping[str, bytes],
    *,
    actor: str,
    with_tests: bool,
) -> tuple[Finding, ...]:
    """Return all findings about a built release. The platform parses its files while this process reads their text."""
    check = repository.request(DeploymentAction.CHECK, release, actor=actor, reason="check")
    from airfleet.releases.checks import registry, ruff
    from airfleet.releases.checks.inputs import CheckInputs, Inventory, ParsedFile, read_sources

    gc.set_threshold(GARBAGE)
    levels = fleet.checks.levels
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(repository.wait, check, _tell)
        testing = pool.submit(_test, project) if with_tests and levels["project-tests"] != "off" else None
        migrations = ruff.check(project) if levels["airflow-2-code"] != "off" else ()
        sources = read_sources({path: body.decode(errors="replace") for path, body in contents.items()})
        for source in sources.values():
            source.places  # noqa: B018 - read now, and not when the platform has answered
        ended = waiting.result()
        if ended.state == DeploymentState.FAILED:
            raise AirfleetError(str(ended.detail.get("message", "the check failed")), where=release)
        facts = CheckInputs(
            sources=sources,
            parses=tuple(ParsedFile.from_json(one) for one in repository.read_parses(ended.detail["keys"].values())),
            now=datetime.now(UTC),
            inventory=Inventory(**repository.list_objects(), queues=list_queues(fleet)),
            rules=fleet.checks,
            migrations=migrations,
            tests=testing.result() if testing else None,
            slas=_locate_slas(fleet, project),
        )
    return registry.run(facts)


def write(findings: tuple[Finding, ...], format_name: str) -> None:
    """Print findings: the text format on stderr, the data formats on stdout."""
    from airfleet.releases.checks import formats

    click.echo(formats.FORMATS[format_name](findings), nl=False, err=format_name == "text")


def report(findings: tuple[Finding, ...]) -> None:
    """Print the errors that stop a deployment, and the number of warnings."""
    errors = find_errors(findings)
    if errors:
        write(errors, "text")
    if warned := len(findings) - len(errors):
        words = (
            "1 warning: `airfleet release check` lists it"
            if warned == 1
            else f"{warned} warnings: `airfleet release check` lists them"
        )
        click.echo(words, err=True)


def list_queues(fleet: Fleet) -> frozenset[str] | None:
    """Return the queues that workers serve. None on one machine without pools: there, tasks of every queue run."""
    return frozenset(fleet.queues) if fleet.hosts or fleet.pools != DEFAULT_POOLS else None


def find_errors(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the findings that stop a release."""
    return tuple(finding for finding in findings if finding.level == "error")


def _locate_slas(fleet: Fleet, project: Path) -> tuple[tuple[SlaRule, int], ...]:
    """Return the rules of SLAs with their lines in fleet.yaml."""
    if not fleet.slas:
        return ()
    document = yaml_document.parse((project / load.FILE).read_text("utf-8"), file=load.FILE)
    return tuple((rule, document.line(("slas", rule.name))) for rule in fleet.slas)


def _tell(deployment: Deployment) -> None:
    click.echo(f"check: {deployment.state}", err=True)


def _test(project: Path) -> ProjectTests:
    from airfleet.releases.checks import project_tests

    with test.environment(project, test.keep_plain(os.environ)) as environment:
        return project_tests.run(project, environment=environment)
