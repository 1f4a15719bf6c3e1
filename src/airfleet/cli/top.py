"""`airfleet top`: what the platform does now, on one screen."""

from __future__ import annotations

import json
from pathlib import Path

import click

from airfleet.cli import options


@click.command("top", short_help="Show what the platform does now: slot pools, queues, hosts, slowest tasks.")
@options.project
@options.state
@click.option("--once", is_flag=True, help="Print it once. This is so too if the output is no terminal.")
@click.option(
    "--every", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between two readings."
)
@options.as_json
def command(project: Path, state: Path | None, once: bool, every: float, as_json: bool) -> None:
    """Show slot pools with their holders, queues with the age of their oldest task, hosts, and the tasks that run
    longest. It reads only what is unfinished, so it is cheap on a large database, and it changes nothing.

    On a terminal the screen is read anew until you type q. `airfleet explain` says why one task does not run.

    \b
    Example:
      airfleet top
      airfleet top --once
      airfleet top --json | jq '.slot_pools[] | select(.waiting > 0)'
    """
    from airfleet.cli import top_screen  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations import explanation, top  # noqa: PLC0415
    from airfleet_provider.contract import overview  # noqa: PLC0415

    place = explanation.find_place(project, state)
    if as_json:
        with top.watch(place) as read:
            click.echo(json.dumps(overview.to_json(read()), indent=2))
    elif once or not top_screen.is_terminal():
        with top.watch(place) as read:
            top_screen.print_once(place.fleet.name, read())
    else:
        top_screen.run(place, every)
