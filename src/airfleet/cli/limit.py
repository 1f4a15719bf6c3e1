"""`airfleet limit …`: which services get as many calls as they bear, and what waits for them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from airfleet.cli import options

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415


@click.group("limit", short_help="Which services get as many calls as they bear, and what waits.")
def command() -> None:
    """List the limits of `limits` in fleet.yaml, and the tasks that wait for them.

    \b
    Example:
      airfleet limit list
    """


@command.command("list")
@options.project_option
@options.state
@options.as_json
def list_command(project: Path, state: Path | None, as_json: bool) -> None:
    """List the limits: what they allow, what starts and runs, and how many tasks wait.

    \b
    Example:
      airfleet limit list --json
    """
    from airfleet.operations.limits import read_limits
    from airfleet_provider.contract.service_limits import describe

    found = read_limits(project, state)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2, default=str))
        return
    if not found:
        click.echo("fleet.yaml has no limits", err=True)
    for one in found:
        allowed = describe(one.starts_per_minute, one.at_once)
        now = f"{one.starts} starts in the last minute, {one.active} at once, {one.waiting} wait"
        click.echo(f"{one.name:<20}  {allowed:<32}  {now}")
