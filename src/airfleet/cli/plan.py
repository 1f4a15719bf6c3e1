"""`airfleet plan`: what `apply` would change on every host, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.console import say
from airfleet.components.host_model import Stage
from airfleet.operations.apply import summarise
from airfleet.operations.session import look_at_all
from airfleet.runners.fleet.apply import removed_hosts
from airfleet.runners.fleet.plan.steps import Step
from airfleet.runners.fleet.survey import fleet_spec, host_survey
from airfleet.runners.fleet.survey.host_survey import Survey
from airfleet.workspace import airflow_version, applied_hosts, credentials, primary_record
from airfleet.workspace.project import find_state
from airfleet.workspace.rotation import RotationLedger

CHANGES = 3


@click.command("plan", short_help="Show what apply would change on the hosts.")
@options.project
@options.state
@click.option("--check", is_flag=True, help="Exit with 0 when there is nothing to do, and with 3 when there is.")
@click.option("--diff/--no-diff", "with_diff", default=True, show_default=True, help="Show how files would change.")
@options.accept_new_hosts
@options.as_json
def command(
    project: Path, state: Path | None, check: bool, with_diff: bool, accept_new_hosts: bool, as_json: bool
) -> None:
    """Look at every host of fleet.yaml and show what `airfleet apply` would change there, and why. Changes nothing.

    With --check, logins that are still valid though nothing begins with them any more are something to do, too.

    \b
    Example:
      airfleet plan --check
    """
    with ExitStack() as stack:
        spec = fleet_spec.read_spec(project, state, accept_new_hosts=accept_new_hosts)
        folder = find_state(spec.project, state)
        airflow_version.check_settled(folder)
        primary_record.check_settled(folder)
        known = applied_hosts.read(folder.root)
        applied_hosts.check_primary(known, spec.fleet)
        removed, survey = look_at_all(spec, known, stack, say)
    steps = (*removed.steps, *survey.steps)
    rotations = RotationLedger(folder.secrets)
    former = credentials.describe_former(folder, [pool.name for pool in spec.fleet.pools])
    if as_json:
        click.echo(json.dumps({**describe(survey, steps), "former_logins": former}, indent=2))
    else:
        show(steps, with_diff=with_diff)
        say(summarise(survey))
    for line in rotations.describe(time.time()):
        say(f"rotation of {line}")
    for line in former:
        say(f"{line} are still valid: apply ends them once nothing uses them any more")
    for error in removed.silent:
        say(removed_hosts.explain_silent(error))
    for view in removed.views:
        say(f"{view.desired.place.host.name} leaves the fleet: {removed_hosts.LEFT}")
    if survey.errors:
        say(host_survey.describe_errors(survey.errors))
        raise SystemExit(1)
    raise SystemExit(CHANGES if check and (steps or former or rotations.is_due(time.time())) else 0)


def show(steps: Iterable[Step], *, with_diff: bool) -> None:
    """Print the steps, host by host."""
    host = ""
    for step in steps:
        if step.host != host:
            host = step.host
            click.secho(f"{host}:", bold=True)
        click.echo(f"  {step.what}  ({step.why})")
        if with_diff and step.diff:
            for line in step.diff.splitlines():
                color = {"+": "green", "-": "red"}.get(line[:1])
                click.secho(f"      {line}", fg=color)


def describe(survey: Survey, steps: Iterable[Step]) -> dict[str, object]:
    """The plan as JSON; diffs hold no secret."""
    return {
        "hosts": [view.desired.place.host.name for view in survey.views],
        "changes": [
            {
                "host": step.host,
                "stage": Stage(step.stage).name.lower(),
                "what": step.what,
                "why": step.why,
                "diff": step.diff,
            }
            for step in steps
        ],
        "errors": [{"host": error.where, "what": error.what, "hint": error.hint} for error in survey.errors],
    }
