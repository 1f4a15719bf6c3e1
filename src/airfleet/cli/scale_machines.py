"""`airfleet scale machines`: machines that come and go with the tasks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import options
from airfleet.cli.console import log, say
from airfleet.errors import AirfleetError, UsageError

if TYPE_CHECKING:
    from airfleet.operations.machines.scaling import HostScaling
    from airfleet.operations.machines.session import MachineSession

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415

NO_GROUP = "no group of `machines` scales: give one of workers `min` in fleet.yaml"


@click.command("machines")
@options.project_option
@options.state
@click.option("--every", metavar="DURATION", help="Go on, and decide again so often, such as every 30s.")
@click.option("--end", "ended", multiple=True, metavar="NAME", help="Destroy this machine, though it is dead.")
def command(project: Path, state: Path | None, every: str | None, ended: tuple[str, ...]) -> None:
    """Make machines that the tasks of their pools need, and destroy those that nobody needs any more.

    It works on the groups of `machines` with `min` in fleet.yaml. A new machine joins by an `airfleet apply`. One that
    goes is drained first, and destroyed when its workers have confirmed that they hold no task. Each intent is
    recorded before its deed, so after a kill at any moment the next run goes on. Exits with 1 if something is left.

    \b
    Example:
      airfleet scale machines
      airfleet scale machines --every 30s
    """
    from airfleet.spec.sections.slas import seconds_of

    scaling = _open(project, state)
    try:
        pause_s = None if every is None else seconds_of(every)
    except ValueError:
        raise UsageError(f"--every {every!r} is no duration", hint="such as --every 30s") from None
    scaling.end(ended)
    if pause_s is None:
        errors = scaling.run()
        for error in errors:
            say(str(error))
        raise SystemExit(1 if errors else 0)
    while True:
        try:
            left = scaling.run()
        except AirfleetError as error:
            # The database or the agents may be away for a while. Nothing is made or destroyed meanwhile.
            left = (error,)
        for one in left:
            log(str(one))
        time.sleep(pause_s)


def _open(project: Path, state: Path | None) -> HostScaling:
    from airfleet.operations.machines import scaled_hosts
    from airfleet.operations.machines.scaling import HostScaling
    from airfleet.operations.machines.scaling_fleet import AppliedFleet
    from airfleet.workspace.project import find_project, find_state

    place = find_project(project)
    folder = find_state(place, state).root
    scales = any(group.least is not None for group in _open_machines(place, folder).machines.groups)
    # Those that a group had while it scaled can still be ended.
    if not scales and not scaled_hosts.read(folder).hosts:
        raise UsageError(
            NO_GROUP, where=str(place), hint="burst: {image: …, count: 6, min: 0, pools: [cpu]}: see `airfleet docs`"
        )
    return HostScaling(
        place, folder, lambda: _open_machines(place, folder), AppliedFleet(place, folder), now=time.time, tell=log
    )


def _open_machines(place: Path, folder: Path) -> MachineSession:
    from airfleet.cli.machines import open_machines

    return open_machines(place, folder)


def show_machines(project: Path, state: Path | None, last: int) -> None:
    """Print the machines that come and go, and the last decisions about them."""
    from airfleet.operations.machines import scaled_hosts
    from airfleet.workspace.project import find_project, find_state

    record = scaled_hosts.read(find_state(find_project(project), state).root)
    for one in record.hosts.values():
        more = f"; it did not join in {one.failed} applies, next at {_moment(one.retry_at)}" if one.failed else ""
        click.echo(f"machine {one.name:<20} {one.phase} since {_moment(one.since)}: {one.reason}{more}")
    for event in reversed(record.events[-last:]):
        click.echo(f"{_moment(event.at)}  machine {event.name}: {event.phase}: {event.reason}")


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
