"""`airfleet incident`: what happened, on one time line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.errors import UsageError
from airfleet_provider.contract.incident import events


@click.command("incident", short_help="Show what happened on the platform, on one time line.")
@click.option("--since", default="2h", show_default=True, help="From this moment on, or from `2h` ago on.")
@options.until
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a draft of a review, in Markdown.")
@options.project_option
@options.state
@options.as_json
def command(since: str, until: str | None, as_markdown: bool, project: Path, state: Path | None, as_json: bool) -> None:
    """Show changes by people, releases, fail-overs, alerts and answers, late promises, failed runs and lost tasks.

    All is read from the database of one machine or of a fleet. What went wrong is marked with `!`. Times are in UTC.

    \b
    Example:
      airfleet incident
      airfleet incident --since "2026-11-29 05:00" --until "2026-11-29 07:30" --markdown > review.md
    """
    from airfleet.operations import explanation, incident  # noqa: PLC0415 - `--help` needs none of it

    if as_json and as_markdown:
        raise UsageError("--json and --markdown are two formats", hint="leave out one of them")
    now = datetime.now(UTC)
    first = options.read_since(since, now)
    last = options.read_since(until, now) if until else now
    if first >= last:
        raise UsageError("--since is not before --until")
    line = incident.look(explanation.find_place(project, state), first, last)
    if as_json:
        click.echo(json.dumps(events.to_json(line), indent=2))
        return
    for text in events.to_markdown(line) if as_markdown else events.list_lines(line):
        click.echo(text)
    if not line.events and not as_markdown:
        click.echo("nothing happened that the platform writes down", err=True)
    if line.is_cut:
        click.echo(f"a source had more than {len(line.events)} events: --since and --until narrow it", err=True)
