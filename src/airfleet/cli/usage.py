"""`airfleet usage`: the memory, CPU and run time of tasks, and limits that would fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import options
from airfleet_provider.contract import wording

if TYPE_CHECKING:
    from airfleet_provider.contract.run_times import RunTimePrediction
    from airfleet_provider.contract.usage_summary import Quantiles, UsageSummary

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415


@click.command("usage", short_help="The memory, CPU and run time of tasks, and limits that would fit.")
@options.project_option
@options.state
@click.option("--dag", help="Only tasks of the Dag with this id.")
@click.option("--task", help="Only tasks with this id.")
@click.option("--pool", help="Only tasks of this pool of workers.")
@click.option(
    "--since", default="14d", show_default=True, help="Attempts that ended from this moment, or `2h` ago, on."
)
@click.option("--run-times", is_flag=True, help="Also predict the next run of each task, and name a time-out.")
@options.as_json
def command(
    project: Path,
    state: Path | None,
    dag: str | None,
    task: str | None,
    pool: str | None,
    since: str,
    run_times: bool,
    as_json: bool,
) -> None:
    """Show what tasks used: the median, the 99th percentile and the highest of their attempts.

    \b
    Example:
      airfleet usage --dag sales --since 7d
      airfleet usage --run-times --json
    """
    from airfleet.operations.usage import read_usage

    moment = options.read_since(since, datetime.now(UTC))
    found, predictions = read_usage(
        project, state, since=moment, dag=dag, task=task, pool=pool, with_run_times=run_times
    )
    if as_json:
        shown = [{**asdict(one), "fitting_limit": one.fitting_limit, "advice": one.advice} for one in found]
        for row in shown if run_times else ():
            known = predictions.get((row["dag_id"], row["task_id"]))
            row["run_times"] = asdict(known) if known else None
        tasks, pools = ([row for row in shown if (row["task_id"] is None) is alone] for alone in (False, True))
        click.echo(json.dumps({"since": moment.isoformat(), "tasks": tasks, "pools": pools}, indent=2))
        return
    if not found:
        chosen = "such a task" if dag or task or pool else "a task"
        click.echo(f"no attempt of {chosen} has ended since {moment:%Y-%m-%d %H:%M} UTC", err=True)
        return
    _print(found, predictions)


def _print(found: Sequence[UsageSummary], predictions: Mapping[tuple[str, str], RunTimePrediction]) -> None:
    from airfleet_provider.contract.text import one_line
    from airfleet_provider.contract.usage_summary import write_size

    width = max(len(_name(one)) for one in found)
    click.echo(f"{'p50 / p99 / most':<{width}}  attempts  {'memory':<30}  {'CPU':<26}  run time")
    for one in found:
        mark = "" if one.is_group or one.memory is None else " *"
        memory = _join(one.memory, write_size) + mark
        times = [_join(values, _write_seconds) for values in (one.cpu_s, one.run_s)]
        click.echo(f"{one_line(_name(one)):<{width}}  {one.attempts:>8}  {memory:<30}  {times[0]:<26}  {times[1]}")
        if one.advice:
            click.echo(f"    {one.advice}")
        if one.dag_id and one.task_id and (known := predictions.get((one.dag_id, one.task_id))):
            click.echo(f"    {_describe(known)}")
        if one.recorded < one.attempts and one.task_id:
            without = one.attempts - one.recorded
            click.echo(f"    {wording.count(without, 'attempt')} {'has' if without == 1 else 'have'} no record")
    if any(not one.is_group and one.memory for one in found):
        click.echo("* of the largest process of a task, with what it shares with its warm process; a task that runs")
        click.echo("  several large processes at once needs more")


def _describe(one: RunTimePrediction) -> str:
    text = f"next run: p50 {_write_seconds(one.p50_s)}, p95 {_write_seconds(one.p95_s)}"
    if one.held is not None and one.error_s is not None and one.naive_error_s is not None:
        text += (
            f" (this p95 held for {one.held:.0%} of {one.judged} runs; p50 was off by {_write_seconds(one.error_s)},"
            f" the run before by {_write_seconds(one.naive_error_s)})"
        )
    return f"{text}; execution_timeout: timedelta(minutes={one.timeout_s // 60})"


def _name(one: UsageSummary) -> str:
    return f"pool {one.pool}" if one.task_id is None else f"  {one.dag_id}.{one.task_id}"


def _join(values: Quantiles | None, write: Callable[[float], str]) -> str:
    return " / ".join(map(write, (values.p50, values.p99, values.most))) if values else "-"


def _write_seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 600 else f"{seconds / 60:.0f}m"
