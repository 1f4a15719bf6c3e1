"""`airfleet sla …`: which promises are open, how often they were kept, and the history of one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.airflow import run_airflow
from airfleet.errors import UsageError
from airfleet_provider.contract.sla_rules import PromiseState

host_option = click.option(
    "--host", help="Of a fleet: the scheduler host to run it on.  [default: the first that answers]"
)
rule_option = click.option("--rule", help="Only the promises of this entry of `slas`.")
dag_option = click.option("--dag", help="Only promises about the Dag with this id.")
as_csv = click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout.")


@click.group("sla", short_help="Promises about when Dags, tasks and assets are ready.")
def command() -> None:
    """Show the promises of `slas` in fleet.yaml: which are open, which were kept.

    A promise on one occasion is an instance: it is due, perhaps at risk, perhaps late, and ends as met or missed.

    \b
    Example:
      airfleet sla list
      airfleet sla report --month 2026-10 --csv
    """


@command.command("list")
@options.project_option
@options.state
@host_option
@rule_option
@dag_option
@click.option(
    "--in", "in_state", type=click.Choice([one.value for one in PromiseState]), help="Only instances in this state."
)
@click.option("--all", "with_ended", is_flag=True, help="Also instances that ended in the last 24 hours.")
@options.as_json
@as_csv
def list_command(
    project: Path,
    state: Path | None,
    host: str | None,
    rule: str | None,
    dag: str | None,
    in_state: str | None,
    with_ended: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List the open promises, the worst first: late, at risk, missed and not healed, due.

    \b
    Example:
      airfleet sla list
      airfleet sla list --in late --json
    """
    words = [*_name("--rule", rule), *_name("--dag", dag), *_name("--in", in_state), *(["--all"] if with_ended else [])]
    _run("list", words, project, state, host, as_json=as_json, as_csv=as_csv)


@command.command("report")
@options.project_option
@options.state
@host_option
@rule_option
@dag_option
@click.option("--month", help="A calendar month in UTC, such as 2026-10.")
@click.option("--since", help="From this moment on.  [default: 30 days before the end]")
@click.option("--until", help="Before this moment.  [default: now]")
@options.as_json
@as_csv
def report_command(
    project: Path,
    state: Path | None,
    host: str | None,
    rule: str | None,
    dag: str | None,
    month: str | None,
    since: str | None,
    until: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Report how often each promise was kept, such as "met 99.2 % from 2026-10-01 to 2026-11-01".

    \b
    Example:
      airfleet sla report --month 2026-10
      airfleet sla report --since 2026-11-01 --csv
    """
    if month and (since or until):
        raise UsageError("--month is a time of its own", hint="leave out --since and --until")
    first, last = _read_month(month) if month else (since, until)
    words = [*_name("--rule", rule), *_name("--dag", dag)]
    for name, text in (("--since", first), ("--until", last)):
        if text:
            words += [name, options.read_moment(text).isoformat()]
    _run("report", words, project, state, host, as_json=as_json, as_csv=as_csv)


@command.command("show")
@options.project_option
@options.state
@host_option
@click.argument("rule")
@dag_option
@click.option(
    "--last", type=click.IntRange(min=1, max=10_000), default=20, show_default=True, help="How many instances."
)
@options.as_json
@as_csv
def show_command(
    project: Path,
    state: Path | None,
    host: str | None,
    rule: str,
    dag: str | None,
    last: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show the promises of one entry of `slas`, and their last instances.

    \b
    Example:
      airfleet sla show marts-by-six
    """
    words = ["--rule", rule, *_name("--dag", dag), "--most", str(last)]
    _run("show", words, project, state, host, as_json=as_json, as_csv=as_csv)


def _run(
    action: str, words: list[str], project: Path, state: Path | None, host: str | None, *, as_json: bool, as_csv: bool
) -> None:
    if as_json and as_csv:
        raise UsageError("--json and --csv are two formats", hint="leave out one of them")
    chosen = "json" if as_json else "csv" if as_csv else "text"
    run_airflow(project, state, host, ("airfleet", "sla", action, *words, "--format", chosen))


def _read_month(text: str) -> tuple[str, str]:
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{text!r} is not a month", hint="write it as 2026-10") from None
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first.isoformat(), after.isoformat()


def _name(option: str, text: str | None) -> list[str]:
    return [option, text] if text else []
