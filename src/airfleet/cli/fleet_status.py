"""`airfleet status` of many machines: each host with its roles, what is wrong there, and a hint for each problem."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import NoReturn

import click
from rich.table import Table

from airfleet.cli.console import describe_health, describe_observation, open_console
from airfleet.operations import fallbacks
from airfleet.operations.fleet_status import FleetReport
from airfleet_provider.contract import wording


def show(report: FleetReport, *, as_json: bool) -> NoReturn:
    """Print the state of every host. Exits with 0 if nothing is wrong, and with 1 otherwise."""
    if as_json:
        click.echo(json.dumps(describe(report), indent=2))
    else:
        _print(report)
    raise SystemExit(1 if report.problems else 0)


def describe(report: FleetReport) -> dict[str, object]:
    """The status as JSON."""
    return {
        "fleet": report.fleet,
        "hosts": [asdict(host) for host in report.hosts],
        "services": [asdict(service) for service in report.services],
        "health": describe_health(report.health),
        "problems": [asdict(problem) for problem in report.problems],
        "changes": report.changes,
        **fallbacks.describe(report.courses),
    }


def _print(report: FleetReport) -> None:
    wrong = {problem.where: problem.what for problem in reversed(report.problems)}
    table = Table("host", "address", "roles", "state", "services", "what is wrong")
    for host in report.hosts:
        services = f"{host.running} of {host.services}" if host.services else "-"
        table.add_row(host.host, host.address, host.roles, host.state, services, wrong.get(host.host, ""))
    open_console().print(table)
    for observation in report.health:
        click.echo(describe_observation(observation))
    for line in fallbacks.list_lines(report.courses):
        click.echo(line)
    for problem in report.problems:
        click.echo(f"{problem.where}: {problem.what}", err=True)
        if problem.hint:
            click.echo(f"  hint: {problem.hint}", err=True)
    if report.changes:
        click.echo(f"to do by `airfleet apply`: {wording.count(report.changes, 'change')}", err=True)
