"""`airfleet status` of many machines: each service on its host, and the platform as it looks from outside."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import click
from rich.table import Table

from airfleet.cli import view
from airfleet.runners.ssh import health, inspect
from airfleet.runners.ssh.health import Sight
from airfleet.runners.ssh.inspect import Survey


def show(project: Path, state: Path | None, *, as_json: bool) -> NoReturn:
    """Print how every host stands; exits with 0 when all is well, and with 1 when something is not."""
    with ExitStack() as stack:
        wish = inspect.read_wish(project, state)
        survey = inspect.survey(wish, stack, lambda _: None)
        seen = health.look(wish.fleet, survey.views)
    services = list_services(survey)
    if as_json:
        click.echo(json.dumps(describe(wish.fleet.name, survey, services, seen), indent=2))
    else:
        table = Table("host", "service", "state", "what")
        for host, service, active, what in services:
            table.add_row(host, service, active, what)
        view.console().print(table)
        for sight in seen:
            click.echo(f"{'ok ' if sight.is_well else 'NOT'} {sight.what}: {sight.detail}")
        if survey.steps:
            click.echo(f"{len(survey.steps)} changes wait for `airfleet apply`", err=True)
        if survey.errors:
            click.echo(inspect.describe_errors(survey.errors), err=True)
    is_well = all(sight.is_well for sight in seen) and all(active == "active" for _, _, active, _ in services)
    raise SystemExit(0 if is_well and not survey.errors else 1)


def list_services(survey: Survey) -> list[tuple[str, str, str, str]]:
    """Host, service, state and meaning of everything that should run."""
    return [
        (
            one.desired.place.host.name,
            service.name,
            one.facts.units[service.unit].active if service.unit in one.facts.units else "missing",
            service.what,
        )
        for one in survey.views
        for service in one.desired.services
    ]


def describe(
    fleet: str, survey: Survey, services: list[tuple[str, str, str, str]], seen: tuple[Sight, ...]
) -> dict[str, object]:
    """The status as JSON."""
    return {
        "fleet": fleet,
        "services": [
            {"host": host, "service": service, "state": active, "what": what}
            for host, service, active, what in services
        ],
        "health": [{"what": sight.what, "ok": sight.is_well, "detail": sight.detail} for sight in seen],
        "changes": len(survey.steps),
        "errors": [{"host": error.where, "what": error.what, "hint": error.hint} for error in survey.errors],
    }
