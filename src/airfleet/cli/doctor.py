"""`airfleet doctor`: what would keep a platform from running well on this machine."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.console import mark
from airfleet.cli.environment import enter_made
from airfleet.errors import AirfleetError
from airfleet.runners.local import diagnosis
from airfleet.spec.fleet import Fleet
from airfleet.workspace.diagnosis import Diagnosis
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet.workspace.state_folder import StateFolder


@click.command("doctor", short_help="Check for what would keep a platform from running well.")
@options.project
@options.state
@click.option("--hardening", is_flag=True, help="Check how hard the platform is to attack, instead.")
@options.as_json
def command(project: Path, state: Path | None, hardening: bool, as_json: bool) -> None:
    """Check versions, libraries, fleet.yaml, ports, folders, clock, disk and memory. Each finding has a hint.

    For a fleet, check this machine's SSH configuration, keys, known_hosts, secrets and locks. Check on every host that
    it answers, its disks, its clock, its Airflow version, and failed services.

    With --hardening, check what decides how hard the platform is to attack. On this machine: modes of files, the age of
    secrets, settings, users and roles. On every host: modes of files, addresses that programs listen on, TLS, limits
    of services, sudo, sshd, passwords and settings of the kernel. Each finding has one fix.

    Exits with 1 if there is an error: something would keep the platform from working, or lets somebody in. Exits with 0
    if there are warnings only. Changes nothing.

    \b
    Example:
      airfleet doctor --json
      airfleet doctor --hardening
    """
    project = find_project(project)
    folder = find_state(project, state)
    if hardening:
        findings = _examine_hardening(project, folder)
    elif (fleet := _read_fleet(project)) and fleet.hosts:
        # Only a fleet needs what speaks SSH.
        from airfleet.operations import own_servers  # noqa: PLC0415
        from airfleet.runners.fleet import diagnosis as fleets  # noqa: PLC0415

        findings = [*fleets.examine(fleet, project, folder), *own_servers.diagnose(fleet, project, state)]
    else:
        if fleet:
            enter_made(project, fleet, state)
        findings = diagnosis.examine(project, folder)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{mark(finding.level)}  {finding.subject}: {finding.what}")
            if finding.hint:
                click.echo(f"      hint: {finding.hint}")
    raise SystemExit(1 if any(finding.level == "error" for finding in findings) else 0)


def _examine_hardening(project: Path, folder: StateFolder) -> list[Diagnosis]:
    fleet = read_fleet(project)
    if fleet.hosts:
        from airfleet.runners.fleet import hardening as fleets  # noqa: PLC0415 - as above

        return fleets.examine(fleet, project, folder, now=time.time())
    from airfleet.workspace import hardening  # noqa: PLC0415 - few ask for it

    return list(hardening.examine(fleet, project, folder, now=time.time()))


def _read_fleet(project: Path) -> Fleet | None:
    try:
        return read_fleet(project)
    except AirfleetError:  # one of the findings of this machine says so
        return None
