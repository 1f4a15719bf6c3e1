"""`airfleet logs`: the logs of the components, and the search in all logs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import click

from airfleet.cli import options
from airfleet.cli.airflow import run_airflow
from airfleet.errors import UsageError
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet_provider.contract.opensearch_views import PREFIX, read_views

POLL_S = 0.2
LEVELS = ("debug", "info", "warning", "error", "critical")


class LogsGroup(click.Group):
    """A group whose first word may also be the name of a component."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command `show` before words that do not begin with a command of the group."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that words name, and its own words."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


@click.group("logs", cls=LogsGroup, short_help="Show the logs of the components, or search all logs.")
def command() -> None:
    """Show the logs of components as they are, or search the index of all logs, those of tasks too.

    `airfleet logs scheduler` is short for `airfleet logs show scheduler`.

    \b
    Example:
      airfleet logs -f scheduler
      airfleet logs search "connection refused" --since 2h
    """


@command.command("show")
@click.argument("component", required=False)
@options.project_option
@options.state
@click.option("-f", "--follow", is_flag=True, help="Keep showing new lines.")
@click.option("-n", "--lines", type=click.IntRange(0), default=50, show_default=True, help="Past lines to show.")
@click.option("--host", "hosts", multiple=True, help="Fleet only: the host to read. Repeat for several.")
@click.option("--since", help='Fleet only: show lines since this time, as for journalctl: "1 hour ago".')
def show_command(
    component: str | None,
    project: Path,
    state: Path | None,
    follow: bool,
    lines: int,
    hosts: tuple[str, ...],
    since: str | None,
) -> None:
    """Show the logs of one component, or of all components with the component's name before each line.

    On a fleet, show the journals of all hosts with the host's name before each line. Lines are grouped by host. With
    --follow they appear as the hosts write them.

    \b
    Example:
      airfleet logs -f scheduler
      airfleet logs worker-default --host cpu1 --since "1 hour ago" -n 1000
    """
    if project.is_dir() and (fleet := read_fleet(project)).hosts:
        _show_fleet(fleet, project, component, follow=follow, lines=lines, hosts=hosts, since=since)
        return
    if hosts or since:
        raise UsageError("--host and --since need a fleet", where=str(project), hint="fleet.yaml names no hosts")
    folder = find_state(project, state)
    files = {path.stem: path for path in sorted(folder.logs.glob("*.log"))}
    if not files:
        raise UsageError("there are no logs yet", where=str(folder.logs), hint="airfleet up")
    if component is not None and component not in files:
        known = f"there are: {', '.join(files)}"
        tasks = "`airfleet logs search --dag DAG` has the logs of tasks"
        raise UsageError(f"unknown component {component!r}", where=str(folder.logs), hint=f"{known}\n{tasks}")
    chosen = {component: files[component]} if component else files
    width = max(map(len, chosen)) if len(chosen) > 1 else 0
    handles = {name: path.open("rb") for name, path in chosen.items()}
    for name, handle in handles.items():
        written = _read_whole(handle) if follow else handle.readlines()
        _print(name, written[-lines:] if lines else [], width)
    while follow:
        news = [_follow(name, handle, width) for name, handle in handles.items()]
        if not any(news):
            time.sleep(POLL_S)


@command.command("search")
@options.project_option
@options.state
@options.log_host
@click.argument("text", required=False)
@click.option("--dag", help="Only lines of the Dag with this id.")
@click.option("--task", help="Only lines of the task with this id.")
@click.option("--run", help="Only lines of the run with this id.")
@click.option("--try", "try_number", type=click.IntRange(1), help="Only lines of this try.")
@click.option("--map-index", type=click.IntRange(-1), help="Only lines of this mapped task.")
@click.option("--component", help="Only lines of this component. `task` means all tasks.")
@click.option("--level", type=click.Choice(LEVELS), help="Only lines of this level and above.")
@options.since
@options.until
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Lines to show.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they are found.")
@options.as_json
def search_command(
    project: Path,
    state: Path | None,
    host: str | None,
    text: str | None,
    lines: int,
    follow: bool,
    as_json: bool,
    **filters: str | int | None,
) -> None:
    """Search the index of logs: those of tasks and of components. The newest lines are shown, the oldest of them first.

    All words of TEXT must be in a line. Words in double quotes follow each other, a word after a minus must not be
    there, and `conn*` finds every word with this beginning. With --json, each line is one object.

    \b
    Example:
      airfleet logs search "connection refused" --since 2h
      airfleet logs search '"rows loaded" -retry' --dag sales --level info -n 20
      airfleet logs search --level error --follow
    """
    words = options.list_words({"text": text, "host": host, **filters})
    words += ["--most", str(lines), *(["--follow"] if follow else []), *(["--json"] if as_json else [])]
    run_airflow(project, state, None, ("airfleet", "logs", "search", *words))


@command.command("views")
@options.project_option
def views_command(project: Path) -> None:
    """Print saved views for OpenSearch Dashboards: searches and a dashboard over the lines that a fleet keeps there.

    They name the indexes as `logs.opensearch.prefix` in fleet.yaml does. Their ids stay the same, so import them again
    after an upgrade of airfleet.

    \b
    Example:
      airfleet logs views > views.ndjson
      curl -H osd-xsrf:true -F file=@views.ndjson 'https://dashboards.example.com/api/saved_objects/_import?overwrite=true'
    """
    opensearch = read_fleet(project).logs.opensearch if project.is_dir() else None
    click.echo(read_views(opensearch.prefix if opensearch else PREFIX), nl=False)


def _show_fleet(
    fleet: Fleet,
    project: Path,
    component: str | None,
    *,
    follow: bool,
    lines: int,
    hosts: tuple[str, ...],
    since: str | None,
) -> None:
    from airfleet.runners.fleet import journals  # noqa: PLC0415 - only a fleet needs what speaks SSH

    chosen = journals.choose(fleet, hosts)
    width = max(len(host.name) for host in chosen)
    question = journals.JournalQuery(component, lines, since, follow)
    project = find_project(project)
    errors = journals.show(chosen, project, question, write=lambda host, line: click.echo(f"{host:<{width}} | {line}"))
    for error in errors:
        click.echo(f"{error.where}: {error.what}", err=True)
    if errors:
        raise SystemExit(1)


def _follow(name: str, handle: BinaryIO, width: int) -> bool:
    if os.fstat(handle.fileno()).st_size < handle.tell():
        handle.seek(0)  # it was emptied by the rotation
    lines = _read_whole(handle)
    _print(name, lines, width)
    return bool(lines)


def _read_whole(handle: BinaryIO) -> list[bytes]:
    # A line that is still being written waits for its end.
    lines = handle.readlines()
    if lines and not lines[-1].endswith(b"\n"):
        handle.seek(-len(lines.pop()), os.SEEK_CUR)
    return lines


def _print(name: str, lines: Iterable[bytes], width: int) -> None:
    head = f"{name:<{width}} | " if width else ""
    for line in lines:
        click.echo(head + line.decode(errors="replace").rstrip("\n"))
