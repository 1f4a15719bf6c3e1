"""`airfleet migrate …`: the way from Airflow 2."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import options
from airfleet.cli.console import say
from airfleet.errors import UsageError

if TYPE_CHECKING:
    from airfleet.operations.migration.assessment import Assessment
    from airfleet.operations.migration.metadata import Metadata

# The files of `--output`.
REPORT, DIFF, FLEET, REQUIREMENTS = "report.md", "migration.diff", "fleet.yaml", "requirements.txt"

_file = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group("migrate", short_help="Come from Airflow 2: what breaks, what is rewritten, what it takes.")
def command() -> None:
    """Move a platform of Airflow 2 to airfleet.

    \b
    Example:
      airfleet migrate assess old/dags --config old/airflow.cfg --output move
    """


@command.command("assess")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--config", type=_file, help="The airflow.cfg of Airflow 2.")
@click.option("--requirements", type=_file, help="The requirements.txt of Airflow 2.")
@click.option("--dump", type=_file, help="A plain dump of the metadata database (pg_dump), or its SQLite file.")
@click.option(
    "--database-env",
    metavar="NAME",
    help="The environment variable with the URL of the metadata database, postgresql:// or sqlite://. It is only read.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="A new folder for report, diff, fleet.yaml, requirements."
)
@click.option("--diff", "as_diff", is_flag=True, help="Print the diff of all rewrites on stdout.")
@options.as_json
def assess_command(
    folder: Path,
    config: Path | None,
    requirements: Path | None,
    dump: Path | None,
    database_env: str | None,
    output: Path | None,
    as_diff: bool,
    as_json: bool,
) -> None:
    """Say what a folder of Airflow 2 Dags needs to run on Airflow 3.3, and prepare it. FOLDER itself stays as it is.

    Each finding says what Airflow 3.3 does there and what to do. ruff's AIR rules and rules of airfleet's own rewrite a
    copy; `--diff` shows the changes. SLAs and mails about failures become `slas` and `notifications` of a new
    fleet.yaml. Connections, variables and slot pools of the metadata database go there too, with a reference in place
    of each secret: no value of a secret is read.

    \b
    Example:
      airfleet migrate assess old/dags
      airfleet migrate assess old/dags --config old/airflow.cfg --dump airflow.sql --output move
      AIRFLOW_DB=postgresql://… airfleet migrate assess old/dags --database-env AIRFLOW_DB --json
    """
    from airfleet.operations.migration import assessment, report  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.workspace import airflow_version  # noqa: PLC0415

    if as_json and as_diff:
        raise UsageError("--json has the diff already", hint="leave --diff out")
    if output is not None and output.exists():
        raise UsageError("it exists already", where=str(output), hint="name a new folder")
    version, lock = list(airflow_version.find_locks().items())[-1]
    found = assessment.assess(
        folder,
        airflow=version,
        lock=lock.read_text(),
        config=config,
        requirements=requirements,
        database=_read_database(dump, database_env),
    )
    if output is not None:
        _write(output, found)
    if as_json:
        click.echo(json.dumps(assessment.to_json(found), indent=2))
    elif as_diff:
        click.echo(found.rewrite.diff, nl=False)
    else:
        for line in report.list_lines(found):
            click.echo(line)


def _read_database(dump: Path | None, variable: str | None) -> Metadata | None:
    from airfleet.operations.migration import metadata  # noqa: PLC0415

    if dump is not None and variable is not None:
        raise UsageError("two databases are named", hint="use --dump or --database-env")
    if dump is not None:
        return metadata.read_dump(dump)
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise UsageError(f"the environment variable {variable} is not set", hint=f"export {variable}=postgresql://…")
    return metadata.read_url(os.environ[variable])


def _write(folder: Path, found: Assessment) -> None:
    from airfleet.operations.migration import report  # noqa: PLC0415

    folder.mkdir(parents=True)
    texts = {
        REPORT: report.write_markdown(found),
        DIFF: found.rewrite.diff,
        FLEET: found.fleet_file.text,
        REQUIREMENTS: found.requirements,
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    say(f"{folder}: wrote {', '.join(texts)}")
