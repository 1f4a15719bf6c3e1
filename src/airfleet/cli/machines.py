"""`airfleet machines …`: machines that airfleet makes for a fleet."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from airfleet.cli import options
from airfleet.cli.console import confirm, say
from airfleet.errors import UsageError

if TYPE_CHECKING:
    from airfleet.operations.machines.rules import Step
    from airfleet.operations.machines.session import Session

yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("machines", short_help="Machines made for the fleet: plan, apply, list, hosts, destroy.")
def command() -> None:
    """Make the machines of `machines` in fleet.yaml, with a program of yours as the driver.

    \b
    Example:
      airfleet machines plan
      airfleet machines apply
    """


@command.command("plan")
@options.project
@options.state
@options.as_json
def plan_command(project: Path, state: Path | None, as_json: bool) -> None:
    """Show what `airfleet machines apply` would do. Nothing is changed.

    \b
    Example:
      airfleet machines plan --json
    """
    _show(_open(project, state).plan(), as_json=as_json)


@command.command("apply")
@options.project
@options.state
@options.as_json
@yes
def apply_command(project: Path, state: Path | None, as_json: bool, yes: bool) -> None:
    """Make the machines that are missing. Machines that fleet.yaml has no more stay, and are named.

    After an interruption at any moment, another apply goes on. `airfleet machines hosts` prints the hosts afterwards.

    \b
    Example:
      airfleet machines apply
    """
    session = _open(project, state)
    steps = session.plan()
    changes = [step for step in steps if step.is_change]
    if changes:
        for step in changes:
            say(_describe(step))
        confirm(f"change {len(changes)} machines?", yes=yes)
        steps = session.apply()
    _show(steps, as_json=as_json)


@command.command("list")
@options.project
@options.state
@options.as_json
def list_command(project: Path, state: Path | None, as_json: bool) -> None:
    """List the machines that airfleet made, with their states and addresses, without asking the driver.

    \b
    Example:
      airfleet machines list
    """
    from airfleet.operations.machines import records  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.workspace.project import find_project, find_state  # noqa: PLC0415

    found = records.read(find_state(find_project(project), state).root).values()
    if as_json:
        keys = ("name", "group", "state", "id", "address")
        click.echo(json.dumps([{key: getattr(one, key) for key in keys} for one in found], indent=2))
    else:
        for one in found:
            click.echo(f"{one.name:20} {one.state:10} {one.address or '-':15} {one.id}")


@command.command("hosts")
@options.project
@options.state
def hosts_command(project: Path, state: Path | None) -> None:
    """Print the section `hosts` of fleet.yaml for the machines that are made. fleet.yaml itself is not changed.

    \b
    Example:
      airfleet machines hosts
    """
    from airfleet.operations.machines import records  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations.machines.records import State  # noqa: PLC0415

    session = _open(project, state)
    groups = {group.name: group for group in session.machines.groups}
    hosts: dict[str, dict[str, object]] = {}
    for one in records.read(session.state).values():
        group = groups.get(one.group)
        if one.state is State.MADE and group is not None:
            roles = {"roles": list(group.roles)} if group.roles else {}
            pools = {"pools": list(group.pools)} if group.pools else {}
            hosts[one.name] = {"address": one.address, **roles, **pools}
    click.echo(yaml.safe_dump({"hosts": hosts}, sort_keys=False), nl=False)


@command.command("destroy")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@options.project_option
@options.state
@yes
def destroy_command(names: tuple[str, ...], project: Path, state: Path | None, yes: bool) -> None:
    """Destroy machines that airfleet made. A machine that is still a host of fleet.yaml is refused.

    \b
    Example:
      airfleet machines destroy worker3
    """
    session = _open(project, state)
    confirm(f"destroy {', '.join(names)} and all data on them?", yes=yes)
    session.destroy(names)


def _open(project: Path, state: Path | None) -> Session:
    from airfleet.operations.machines.driver import CommandDriver  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations.machines.session import Session  # noqa: PLC0415
    from airfleet.workspace.project import find_project, find_state, read_fleet  # noqa: PLC0415

    place = find_project(project)
    fleet = read_fleet(place)
    if fleet.machines is None:
        raise UsageError("fleet.yaml has no machines", where=str(place), hint="add `machines`: see `airfleet docs`")
    driver = CommandDriver(fleet.machines.command, fleet=fleet.name, project=place)
    folder = find_state(place, state).root
    return Session(fleet, fleet.machines, folder, driver, clock=time.monotonic, sleep=time.sleep, tell=say)


def _show(steps: tuple[Step, ...], *, as_json: bool) -> None:
    if as_json:
        found = [{"name": step.name, "action": step.action.value, "why": step.why} for step in steps]
        click.echo(json.dumps(found, indent=2))
    else:
        for step in steps:
            click.echo(_describe(step))


def _describe(step: Step) -> str:
    return f"{step.action:8} {step.name}: {step.why}"
