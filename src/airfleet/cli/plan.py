"""`airfleet plan`: what `apply` would change on every host, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.console import say
from airfleet.components.host_model import Stage
from airfleet.errors import AirfleetError
from airfleet.operations.apply import summarise
from airfleet.operations.preview import preview
from airfleet.runners.fleet.apply import removed_hosts
from airfleet.runners.fleet.plan.steps import Step
from airfleet.runners.fleet.survey import host_survey
from airfleet.runners.fleet.survey.host_survey import Survey
from airfleet.workspace.project import find_project, read_fleet
from airfleet_provider.contract.text import one_line

CHANGES = 3


@click.command("plan", short_help="Show what apply would change on the hosts.")
@options.project
@options.state
@click.option("--check", is_flag=True, help="Exit with 0 if there is nothing to change, with 3 if there is.")
@click.option("--diff/--no-diff", "with_diff", default=True, show_default=True, help="Show the differences in files.")
@options.accept_new_hosts
@options.as_json
def command(
    project: Path, state: Path | None, check: bool, with_diff: bool, accept_new_hosts: bool, as_json: bool
) -> None:
    """Compare every host with fleet.yaml, and show what `airfleet apply` would change and why. Changes nothing.

    With --check, former logins that are still valid also count as a pending change.

    \b
    Example:
      airfleet plan --check
    """
    found = preview(project, state, accept_new_hosts=accept_new_hosts, notify=say)
    if as_json:
        click.echo(json.dumps({**describe(found.survey, found.steps), "former_logins": found.former_logins}, indent=2))
    else:
        show(found.steps, with_diff=with_diff)
        say(summarise(found.survey))
    for line in found.rotations:
        say(f"rotation of {line}")
    for line in found.former_logins:
        say(f"{line} are still valid: apply revokes them when nothing uses them")
    for line in tell_access(project, state):
        say(line)
    for one in found.findings:
        if one.level != "ok":
            say(f"{one.subject}: {one.what}\n  {one.hint}")
    for error in found.removed.silent:
        say(removed_hosts.explain_silent(error))
    for view in found.removed.views:
        say(f"{view.desired.place.host.name} leaves the fleet: {removed_hosts.LEFT}")
    if found.survey.errors:
        say(host_survey.describe_errors(found.survey.errors))
    if found.survey.errors or any(one.level == "error" for one in found.findings):
        raise SystemExit(1)
    raise SystemExit(CHANGES if check and not found.is_empty else 0)


def tell_access(project: Path, state: Path | None) -> list[str]:
    """Return what of users and roles differs from `access` in fleet.yaml, or why that is not known."""
    if read_fleet(find_project(project)).access is None:
        return []
    from airfleet.operations.access import open_access  # noqa: PLC0415 - it imports the driver of the database

    try:
        with open_access(project, state) as access:
            found = access.plan()
    except AirfleetError as error:
        return [f"users and roles could not be compared: {error.what}"]
    unknown = [*(f"user {name}" for name in found.unknown_users), *(f"role {name}" for name in found.unknown_roles)]
    unknown = [one_line(one) for one in unknown]
    return [
        *(f"access: {change}" for change in found.changes),
        *(f"access: {one} is not in fleet.yaml" for one in unknown),
    ]


def show(steps: Iterable[Step], *, with_diff: bool) -> None:
    """Print the steps of each host."""
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
    """Return the plan as JSON. Its diffs never contain a secret."""
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
