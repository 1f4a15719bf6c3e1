"""`airfleet errors`: the errors in all logs, by what they have in common."""

from __future__ import annotations

from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.airflow import run_airflow


@click.command("errors", short_help="Show the errors in all logs, those of one kind together.")
@options.project_option
@options.state
@options.log_host
@click.argument("text", required=False)
@click.option("--dag", help="Only errors of the Dag with this id.")
@click.option("--task", help="Only errors of the task with this id.")
@click.option("--component", help="Only errors of this component. `task` means all tasks.")
@click.option("--since", default="24h", show_default=True, help="From this moment on, or from `2h` ago on.")
@options.until
@click.option("-n", "--kinds", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Kinds to show.")
@options.as_json
def command(
    project: Path, state: Path | None, text: str | None, kinds: int, as_json: bool, **filters: str | None
) -> None:
    """Show which errors there are: how many tasks of how many Dags have each, and since when and which release.

    Lines that differ only in numbers, times, paths and ids are one kind. The kind that most tasks have comes first.

    \b
    Example:
      airfleet errors
      airfleet errors --since 2h --component task --json
    """
    words = options.list_words({"text": text, **filters})
    words += ["--most", str(kinds), *(["--json"] if as_json else [])]
    run_airflow(project, state, None, ("airfleet", "logs", "errors", *words))
