"""The `airfleet` command: one module per verb, each imported only when it is used."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click

import airfleet
from airfleet.cli.changes import CHANGES
from airfleet.errors import AirfleetError, UsageError
from airfleet_provider.contract.text import is_plain, many_lines

# In the order in which `--help` shows them; each is a module beside this one with a `command`.
VERBS = (
    *("init", "up", "down", "status", "run", "dag", "top", "explain", "trace", "logs", "errors", "doctor", "test"),
    *(
        "plan",
        "apply",
        "release",
        "workers",
        "scale",
        "usage",
        "failover",
        "upgrade",
        "drill",
        "db",
        "alerts",
        "sla",
        "incident",
        "lineage",
        "catalog",
    ),
    *("machines", "image", "migrate", "export", "sbom"),
    *("access", "vpn", "secrets", "audit", "breaker", "limit", "airflow", "docs"),
)
# The attribute of a callback that `watch` has replaced.
WATCHED = "airfleet_audited"


class Verbs(click.Group):
    """A group whose commands are the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"airfleet.cli.{cmd_name}").command
        return watch(sum_up(command), cmd_name)


def sum_up(command: click.Command) -> click.Command:
    """Return a group whose help has the first sentence of each of its commands, which click would cut short."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            if inner.short_help is None and inner.help:
                first = " ".join(inner.help.split("\n\n")[0].split())
                inner.short_help = re.split(r"(?<=\.) ", first)[0]
            sum_up(inner)
    return command


def watch(command: click.Command, name: str) -> click.Command:
    """Return a command that leaves a row in the audit log whenever it changes something; its commands do, too."""
    if isinstance(command, click.Group):
        for own, inner in command.commands.items():
            watch(inner, f"{name} {own}")
    elif command.callback is not None and not hasattr(command.callback, WATCHED):
        command.callback = _record(command.callback, name)
    return command


def refuse_odd_text(options: Mapping[str, object]) -> None:
    """Refuse a text that no database keeps, such as one whose bytes are not UTF-8, or that terminals obey.

    Raises:
        UsageError: One of the words that a user wrote is such a text.
    """
    for name, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str) and not is_plain(one):
                what = f"{name.replace('_', '-')}: the text has control characters or is not UTF-8"
                raise UsageError(what, hint="write it again without them")


def _record(callback: Callable[..., object], name: str) -> Callable[..., object]:
    @functools.wraps(callback)
    def run(*words: object, **options: object) -> object:
        refuse_odd_text(options)
        if name not in CHANGES:
            return callback(*words, **options)
        from airfleet.operations import audited_commands  # noqa: PLC0415 - `--help` needs none of it

        folder, state = options.get("project"), options.get("state")
        place = folder if isinstance(folder, Path) else Path()
        with audited_commands.record(name, options, folder=place, state=state if isinstance(state, Path) else None):
            return callback(*words, **options)

    setattr(run, WATCHED, name)
    return run


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(airfleet.__version__, prog_name="airfleet")
def cli() -> None:
    """A production Apache Airflow platform on plain machines, or on this one.

    \b
    Example:
      airfleet up examples/flights
    """


def find_hint(error: click.ClickException) -> str | None:
    """Return what to type in place of `--project` where a command takes the folder as a word."""
    if not isinstance(error, click.NoSuchOption) or error.option_name != "--project" or error.ctx is None:
        return None
    takes_word = any(isinstance(one, click.Argument) and one.name == "project" for one in error.ctx.command.params)
    return f"{error.ctx.command_path} PROJECT" if takes_word else None


def main() -> None:
    """Run the command line. An AirfleetError becomes one message on stderr and the error's exit code."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except AirfleetError as error:
        # It may hold names of Dags and assets, and what another program said.
        click.echo(f"airfleet: {many_lines(error)}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        if hint := find_hint(error):
            click.echo(f"\nhint: {hint}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("airfleet: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
