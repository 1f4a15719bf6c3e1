"""`airfleet drill`: break a fleet on purpose, under load, and report the effect on its tasks."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.console import log
from airfleet.drills.catalogue import CATALOGUE, Drill
from airfleet.errors import UsageError
from airfleet.spec.fleet import Fleet
from airfleet.workspace.actor import find_actor
from airfleet.workspace.project import find_project, read_fleet

# ruff: noqa: PLC0415 - a list of drills needs none of what runs them


@click.command("drill", short_help="Break the fleet on purpose and measure what that costs.")
@click.argument("names", nargs=-1)
@options.project_option
@options.state
@click.option("--on", "confirmed", help="The fleet's name, as a confirmation that the drill may break it.")
@click.option("--page", type=click.Path(path_type=Path), help="Write the report with its time lines to this HTML file.")
@options.as_json
def command(
    names: tuple[str, ...], project: Path, state: Path | None, confirmed: str | None, page: Path | None, as_json: bool
) -> None:
    """Run drills on a fleet, one after another. Without a name, list the drills.

    A drill adds a load beside the project's Dags, injects one fault and reverts it. The load's tasks write an attempt
    log. It shows which tasks were lost, done twice or killed, and how long no task started. Use a staging fleet. Exits
    with 1 if a drill does not keep what it promises.

    \b
    Example:
      airfleet drill
      airfleet drill kill-scheduler api-outage --on staging --page drills.html
    """
    if not names:
        _list(as_json)
        return
    drills = [_find(name) for name in names]
    project = find_project(project)
    fleet = _read(project, confirmed)
    from airfleet.drills.fleet import LEDGER, prepare
    from airfleet.drills.load import Load
    from airfleet.drills.outcome import to_json
    from airfleet.drills.page import render_page
    from airfleet.drills.report import render_text

    load_of = partial(Load, ledger=LEDGER, queues=fleet.queues)
    outcomes = []
    with ExitStack() as stack:
        runner = prepare(stack, fleet, project, state, find_actor(), log)
        for drill in drills:
            outcomes.append(runner.run(drill, load_of))
            if page:
                when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
                page.write_text(render_page(outcomes, title=f"Drills on {fleet.name}", subtitle=when))
    if as_json:
        click.echo(json.dumps({"drills": [to_json(one) for one in outcomes]}, indent=2))
    else:
        click.echo(render_text(outcomes), nl=False)
    if not all(one.is_kept for one in outcomes):
        raise SystemExit(1)


def _read(project: Path, confirmed: str | None) -> Fleet:
    fleet = read_fleet(project)
    if not fleet.hosts:
        raise UsageError("fleet.yaml names no hosts", where=str(project), hint="drills are for fleets")
    if confirmed != fleet.name:
        hint = f"the drill may interrupt tasks of this fleet: to confirm, add `--on {fleet.name}`"
        raise UsageError(f"a drill breaks {fleet.name} and needs a confirmation", where=str(project), hint=hint)
    return fleet


def _find(name: str) -> Drill:
    if name not in CATALOGUE:
        raise UsageError(f"there is no drill {name!r}", hint=f"one of {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def _list(as_json: bool) -> None:
    if as_json:
        said = [
            {"name": one.name, "done": one.done, "promised": one.promised, "bar_s": one.bar_s}
            for one in CATALOGUE.values()
        ]
        click.echo(json.dumps({"drills": said}, indent=2))
        return
    for one in CATALOGUE.values():
        bar = f" ({one.measure}: {one.bar_s:g} s)" if one.bar_s else ""
        click.echo(f"{one.name}: {one.done} {one.promised}{bar}")
