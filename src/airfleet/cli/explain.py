"""`airfleet explain`: why a Dag, a run or a task does not run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.errors import UsageError


@click.command("explain", short_help="Say why a Dag, a run or a task does not run, and what to do.")
@click.argument("dag")
@click.argument("run", required=False)
@click.argument("task", required=False, metavar="[TASK[MAP_INDEX]]")
@click.option("--run", "run_option", metavar="RUN", help="Same as the argument RUN.")
@click.option("--task", "task_option", metavar="TASK", help="Same as the argument TASK.  [default run: the latest]")
@options.project_option
@options.state
@options.as_json
def command(
    dag: str,
    run: str | None,
    task: str | None,
    run_option: str | None,
    task_option: str | None,
    project: Path,
    state: Path | None,
    as_json: bool,
) -> None:
    """Say why a Dag gets no run, why a run does not start or go on, or why a task does not run.

    It applies the rules of Airflow's scheduler to the present state of the database, and names what stands in the way:
    since when, who holds the slots, which runs block, what to type. The most severe cause comes first. It only reads.

    RUN is a run id, a part of one, or `latest`. If no run has this name, it is a task of the latest run. TASK is a task
    id; `load[3]` is one instance of a mapped task.

    \b
    Example:
      airfleet explain sales
      airfleet explain sales latest
      airfleet explain sales 2026-11-29 load
      airfleet explain sales --task load --json
    """
    from airfleet.cli import explain_view  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations import explanation as operation  # noqa: PLC0415
    from airfleet_provider.contract.explanation import model  # noqa: PLC0415

    if (run and run_option) or (task and task_option):
        raise UsageError("the same thing is named twice", hint="airfleet explain DAG [RUN] [TASK]")
    place = operation.find_place(project, state)
    explained = operation.look(place, dag, run or run_option, task or task_option)
    if as_json:
        click.echo(json.dumps(model.to_json(explained), indent=2))
    else:
        for line in explain_view.list_lines(explained):
            click.echo(line)
