"""`airfleet breaker …`: which services are away, and what waits for them."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.errors import UsageError

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415


@click.group("breaker", short_help="Which services are away, and what waits for them.")
def command() -> None:
    """List the circuit breakers of `breakers` in fleet.yaml, and open or close one by hand.

    \b
    Example:
      airfleet breaker list
      airfleet breaker open crm --for 2h --reason "maintenance of the CRM"
      airfleet breaker close crm --reason "the CRM is back"
    """


@command.command("list")
@options.project_option
@options.state
@click.option("--events", type=click.IntRange(0, 1000), default=0, help="Also show so many of the last changes.")
@options.as_json
def list_command(project: Path, state: Path | None, events: int, as_json: bool) -> None:
    """List the breakers: their state, since when, why, and how many tasks wait.

    \b
    Example:
      airfleet breaker list --events 20
    """
    from airfleet.operations.breakers import open_breakers

    with open_breakers(project, state) as breakers:
        found = breakers.list_breakers()
        changes = breakers.list_events(None, limit=events) if events else ()
    if as_json:
        shown: object = [asdict(one) for one in found]
        if events:
            shown = {"breakers": shown, "events": [asdict(one) for one in changes]}
        click.echo(json.dumps(shown, indent=2, default=str))
        return
    if not found:
        click.echo("fleet.yaml has no breakers", err=True)
    for one in found:
        wave = f" ({one.wave} may run)" if one.wave else ""
        since = f"  since {_at(one.opened_at)}" if one.opened_at else ""
        click.echo(f"{one.name:<20}  {one.state:<9}{wave}{since}")
        if one.opened_at:
            probe = f"next probe {_at(one.probe_at)}" if one.probe_at else "no probe: close it by hand"
            probe = "probing" if one.wave else probe
            by = f", by {_plain(one.actor)}" if one.actor != "airfleet" else ""
            click.echo(f"{'':<22}{one.waiting} tasks wait; {probe}; {_plain(one.reason)}{by}")
    for event in changes:
        wave = f" {event.wave}" if event.wave else ""
        click.echo(
            f"{_at(event.happened_at)}  {event.breaker}  {event.state}{wave}  {_plain(event.reason)}"
            f"  by {_plain(event.actor)}"
        )


@command.command("open")
@options.project_option
@options.state
@click.argument("name")
@click.option("--for", "duration", help="Probe after this time, such as 2h.  [default: never, until it is closed]")
@click.option("--reason", required=True, help="Why: it is shown to whoever waits.")
def open_command(project: Path, state: Path | None, name: str, duration: str | None, reason: str) -> None:
    """Open a breaker by hand, such as before a maintenance: tasks that need the service wait from now on.

    Tasks that run already go on.

    \b
    Example:
      airfleet breaker open crm --for 2h --reason "maintenance of the CRM"
    """
    from airfleet.spec.sections.slas import seconds_of
    from airfleet_provider.contract.breaker_rules import BreakerState

    try:
        seconds = float(seconds_of(duration)) if duration else None
    except ValueError:
        raise UsageError(f"--for {duration!r} is no duration", hint="such as --for 90m, 2h or 1d") from None
    _move(project, state, name, BreakerState.OPEN, reason, seconds)


@command.command("close")
@options.project_option
@options.state
@click.argument("name")
@click.option("--reason", required=True, help="Why.")
def close_command(project: Path, state: Path | None, name: str, reason: str) -> None:
    """Close a breaker by hand: all tasks that wait for it may run at once.

    If the service is still away, the breaker opens again by itself.

    \b
    Example:
      airfleet breaker close crm --reason "the CRM is back"
    """
    from airfleet_provider.contract.breaker_rules import BreakerState

    _move(project, state, name, BreakerState.CLOSED, reason, None)


def _move(project: Path, state: Path | None, name: str, to: str, reason: str, seconds: float | None) -> None:
    from airfleet.operations.breakers import open_breakers
    from airfleet.workspace.actor import find_actor
    from airfleet_provider.contract.breaker_rules import BreakerState

    with open_breakers(project, state) as breakers:
        breakers.move(name, BreakerState(to), reason=reason, actor=find_actor(), seconds=seconds)
    click.echo(f"{name} is {to}", err=True)


def _at(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _plain(text: object) -> str:
    from airfleet_provider.contract.text import one_line

    return one_line(text)
