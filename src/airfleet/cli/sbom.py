"""`airfleet sbom`: which packages Airflow's processes run from."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from airfleet import __version__
from airfleet.cli import options


@click.command("sbom", short_help="List the packages of the runtime, as CycloneDX.")
@options.project
@options.state
@click.option("--host", help="Of a fleet: the host whose packages are listed.  [default: the first scheduler host]")
@click.option(
    "--requirements", is_flag=True, help="Print NAME==VERSION lines instead, as a file of requirements has them."
)
def command(project: Path, state: Path | None, host: str | None, requirements: bool) -> None:
    """Print the software bill of materials of the runtime: CycloneDX 1.6 in JSON.

    It lists the Python packages that are installed where Airflow's processes run, with version, licence and what each
    requires: of the environment of this project, or of a host of the fleet. Packages of the system, such as HAProxy,
    are not in it.

    \b
    Example:
      airfleet sbom > sbom.json
      airfleet sbom --requirements > installed.txt && pip-audit --no-deps --disable-pip -r installed.txt
    """
    # The functions import what they need, as `--help` needs none of it.
    from airfleet.cli.environment import enter  # noqa: PLC0415
    from airfleet.errors import UsageError  # noqa: PLC0415
    from airfleet.operations import sbom  # noqa: PLC0415
    from airfleet.workspace.project import find_project, read_fleet  # noqa: PLC0415

    project = find_project(project)
    fleet = read_fleet(project)
    if fleet.hosts:
        inventory = sbom.read_there(fleet, project, host)
    elif host:
        raise UsageError("--host is of a fleet", where=str(project), hint="fleet.yaml names no hosts")
    else:
        enter(project, fleet, state)
        inventory = sbom.read_here()
    if requirements:
        click.echo("\n".join(sbom.list_requirements(inventory)))
    else:
        click.echo(json.dumps(sbom.render(inventory, fleet.name, __version__, datetime.now(UTC)), indent=2))
