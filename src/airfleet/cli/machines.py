"""`airfleet machines …`: machines that airfleet makes for a fleet."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from airfleet.cli import options
from airfleet.cli.console import confirm, say
from airfleet.errors import UsageError

if TYPE_CHECKING:
    from airfleet.operations.machines.rules import MachineStep
    from airfleet.operations.machines.session import MachineSession
    from airfleet.spec.fleet import Fleet
    from airfleet.spec.machines import Machines

yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("machines", short_help="Machines made for the fleet: plan, apply, list, destroy, export.")
def command() -> None:
    """Make the machines of `machines` in fleet.yaml: in a cloud, in vSphere, with libvirt, or by a program of yours.

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
    _show(open_machines(project, state).plan(), as_json=as_json)


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
    session = open_machines(project, state)
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
    elif not found:
        say("airfleet made no machines for this project")
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
    from airfleet.operations.machines.hosts import describe_hosts  # noqa: PLC0415

    place, _, machines = _read(project)
    hosts = describe_hosts(machines.groups, records.read(_find_state(place, state)))
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
    session = open_machines(project, state)
    confirm(f"destroy {', '.join(names)} and all data on them?", yes=yes)
    session.destroy(names)


@command.command("sizes")
@options.project
@options.state
@click.option(
    "--since", default="14d", show_default=True, help="Attempts that ended from this moment, or `2h` ago, on."
)
@options.as_json
def sizes_command(project: Path, state: Path | None, since: str, as_json: bool) -> None:
    """Say which sizes would fit the groups of workers, by what their tasks used. Nothing is changed.

    \b
    Example:
      airfleet machines sizes --since 30d
    """
    from airfleet.operations.machines.sizes import advise  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations.usage import read_usage  # noqa: PLC0415

    place, fleet, machines = _read(project)
    moment = options.read_since(since, datetime.now(UTC))
    found, _ = read_usage(place, state, since=moment, dag=None, task=None, pool=None, with_run_times=False)
    advice = advise(machines.groups, fleet.pools, found)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in advice], indent=2))
        return
    if not advice:
        say("fleet.yaml has no group of machines for workers alone")
    for one in advice:
        has = f"{one.cpus} CPUs, {one.memory >> 30} GiB"
        fits = (
            "" if one.fitting_memory is None else f"; {one.fitting_cpus} CPUs, {one.fitting_memory >> 30} GiB would fit"
        )
        click.echo(f"{one.group}: {has}{fits} ({one.why})")


@command.command("user-data")
@click.argument("name")
@options.project_option
def user_data_command(name: str, project: Path) -> None:
    """Print the cloud-init user-data of a machine: its host name, and the public half of `ssh.key` for `ssh.user`.

    For machines that you make yourself. No secret is in it.

    \b
    Example:
      airfleet machines user-data web1 > web1.yaml
    """
    from airfleet.operations.machines import user_data  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.workspace.project import find_project, read_fleet  # noqa: PLC0415

    place = find_project(project)
    click.echo(user_data.write(name, read_fleet(place).ssh, place), nl=False)


@command.command("inventory")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="GROUP=ROLE,...",
    help="The roles of a group of the inventory, and pools as pool:NAME. Repeatable.",
)
def inventory_command(file: Path, mapping: tuple[str, ...]) -> None:
    """Print the section `hosts` of fleet.yaml for the hosts of an Ansible inventory.

    FILE is INI, YAML, or what `ansible-inventory --list` prints. A group with the name of a role, or its plural, gives
    its hosts this role. Of the variables, only ansible_host, ansible_user and ansible_port are read.

    \b
    Example:
      airfleet machines inventory hosts.ini --map airflow_web=web,balancer --map etl=worker,pool:default
    """
    from airfleet.operations.machines.inventory import read_hosts, read_mapping  # noqa: PLC0415 - `--help` needs none

    hosts, left = read_hosts(file.read_text(), read_mapping(mapping))
    if left:
        say(f"left out, as no group gives them a role: {', '.join(left)}")
    click.echo(yaml.safe_dump({"hosts": hosts}, sort_keys=False), nl=False)


@command.group("export")
def export_group() -> None:
    """Hand the machines of fleet.yaml to another tool.

    \b
    Example:
      airfleet machines export terraform --output infrastructure
    """


@export_group.command("terraform")
@options.project
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A new folder for the file.")
def terraform_command(project: Path, output: Path) -> None:
    """Write main.tf.json for teams whose machines Terraform makes: of vsphere, ec2 or openstack.

    Its output `hosts` is the section `hosts` of fleet.yaml. Take `machines` out of fleet.yaml then: otherwise both
    tools make machines.

    \b
    Example:
      airfleet machines export terraform --output infrastructure
      terraform -chdir=infrastructure apply && terraform -chdir=infrastructure output -json hosts
    """
    from airfleet.operations.machines import terraform, user_data  # noqa: PLC0415 - `--help` needs none of it

    if output.exists():
        raise UsageError("it exists already", where=str(output), hint="name a new folder")
    place, fleet, machines = _read(project)
    text = terraform.write(machines, fleet=fleet.name, user_data=lambda name: user_data.write(name, fleet.ssh, place))
    output.mkdir(parents=True)
    (output / "main.tf.json").write_text(text)
    say(f"{output}: wrote main.tf.json")


def _read(project: Path) -> tuple[Path, Fleet, Machines]:
    from airfleet.workspace.project import find_project, read_fleet  # noqa: PLC0415 - `--help` needs none of it

    place = find_project(project)
    fleet = read_fleet(place)
    if fleet.machines is None:
        raise UsageError("fleet.yaml has no machines", where=str(place), hint="add `machines`: see `airfleet docs`")
    return place, fleet, fleet.machines


def _find_state(place: Path, state: Path | None) -> Path:
    from airfleet.workspace.project import find_state  # noqa: PLC0415 - `--help` needs none of it

    return find_state(place, state).root


def open_machines(project: Path, state: Path | None) -> MachineSession:
    """Open the machines of a project."""
    from airfleet.operations.machines.drivers import open_driver  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations.machines.session import MachineSession  # noqa: PLC0415

    place, fleet, machines = _read(project)
    driver, folder = open_driver(machines, fleet, place), _find_state(place, state)
    return MachineSession(fleet, machines, folder, driver, clock=time.monotonic, sleep=time.sleep, tell=say)


def _show(steps: tuple[MachineStep, ...], *, as_json: bool) -> None:
    if as_json:
        found = [{"name": step.name, "action": step.action.value, "why": step.why} for step in steps]
        click.echo(json.dumps(found, indent=2))
    elif not steps:
        say("no machines here; those of a group with `min` are made by `airfleet scale machines`")
    else:
        for step in steps:
            click.echo(_describe(step))


def _describe(step: MachineStep) -> str:
    return f"{step.action:8} {step.name}: {step.why}"
