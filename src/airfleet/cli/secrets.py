"""`airfleet secrets …`: how old the secrets of a platform are, and new values for them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from airfleet.cli import options
from airfleet_provider.contract import wording

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415


@click.group("secrets", short_help="How old the secrets of the platform are, and new values for them.")
def command() -> None:
    """List the secrets that airfleet made for the platform, and request new values. No value is shown.

    \b
    Example:
      airfleet secrets list
      airfleet secrets rotate --all && airfleet apply
    """


@command.command("list")
@options.project_option
@options.state
@options.as_json
def list_command(project: Path, state: Path | None, as_json: bool) -> None:
    """List the secrets with their age, and the rotations under way.

    \b
    Example:
      airfleet secrets list --json
    """
    from airfleet.errors import UsageError
    from airfleet.workspace import secret_files
    from airfleet.workspace.project import find_project, find_state, read_fleet

    project = find_project(project)
    pools = [pool.name for pool in read_fleet(project).pools]
    folder = find_state(project, state)
    if state and not folder.root.is_dir():
        raise UsageError(
            "there is no state folder", where=str(folder.root), hint="without --state it is PROJECT/.airfleet"
        )
    found = list(secret_files.list_secrets(folder, time.time(), pools=pools))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    if not found:
        click.echo("there are no secrets yet; airfleet apply, or airfleet up, makes them", err=True)
    for one in found:
        age = "" if one.age_s is None else wording.count(int(one.age_s // 86400), "day")
        click.echo(f"{one.name:<32}  {age:>10}  {one.state}")


@command.command("rotate")
@options.project_option
@options.state
@click.option("--all", "all_", is_flag=True, help="All secrets but the passwords of people, who would have to be told.")
@click.option("--again", is_flag=True, help="Also those whose last rotation is under way: they get one more value.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def rotate_command(project: Path, state: Path | None, all_: bool, again: bool, names: tuple[str, ...]) -> None:
    """Request new values of secrets. The next `airfleet apply` makes them and brings them to the hosts.

    Servers accept both values until every host uses the new one, so no task fails. If that apply is killed, the next
    one goes on. Of a platform on one machine: `airfleet down`, then `airfleet up`.

    A secret whose last rotation has not ended has a new value already, and gets no other one without --again.

    \b
    Example:
      airfleet secrets rotate jwt_key && airfleet apply --revoke
      airfleet secrets rotate --all && airfleet apply
    """
    from airfleet.errors import UsageError
    from airfleet.workspace import secret_files
    from airfleet.workspace.project import find_project, find_state, read_fleet

    if all_ == bool(names):
        raise UsageError("name the secrets, or give --all", hint="airfleet secrets list")
    project = find_project(project)
    folder, fleet = find_state(project, state), read_fleet(project)
    now, pools = time.time(), [pool.name for pool in fleet.pools]
    wanted = names or [one.name for one in secret_files.list_secrets(folder, now, pools=pools) if not one.is_of_user]
    if not wanted:
        raise UsageError("there are no secrets yet", where=str(folder.secrets), hint="airfleet apply, or airfleet up")
    under_way = frozenset() if again else secret_files.list_under_way(folder)
    due = secret_files.request(folder, wanted, now=now, pools=pools, kept=under_way)
    then = "airfleet apply" if fleet.hosts else "airfleet down, then airfleet up"
    for name in due:
        click.echo(name)
    for name in sorted(under_way & {*wanted}):
        click.echo(
            f"{name}: its last rotation is under way, and ends with {then}; --again asks for another value", err=True
        )
    said = f"{wording.count(len(due), 'new value')} requested" if due else "the new values were requested already"
    click.echo(f"{said}; next: {then}", err=True)
