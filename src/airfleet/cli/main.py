"""The `airfleet` command: one module per verb, each imported only when it is used."""

from __future__ import annotations

import importlib
import sys

import click

import airfleet
from airfleet.errors import AirfleetError

# In the order in which `--help` shows them; each is a module beside this one with a `command`.
VERBS = (
    *("init", "up", "down", "status", "top", "explain", "trace", "logs", "errors", "doctor", "test"),
    *(
        "plan",
        "apply",
        "release",
        "workers",
        "scale",
        "failover",
        "upgrade",
        "drill",
        "db",
        "alerts",
        "sla",
        "incident",
    ),
    *("machines", "migrate", "export"),
    *("breaker", "airflow", "docs"),
)


class Verbs(click.Group):
    """A group whose commands are the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"airfleet.cli.{cmd_name}").command
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(airfleet.__version__, prog_name="airfleet")
def cli() -> None:
    """A production Apache Airflow platform on plain machines, or on this one.

    \b
    Example:
      airfleet up examples/flights
    """


def main() -> None:
    """Run the command line. An AirfleetError becomes one message on stderr and the error's exit code."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except AirfleetError as error:
        click.echo(f"airfleet: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("airfleet: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
