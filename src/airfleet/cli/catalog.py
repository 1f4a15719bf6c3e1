"""`airfleet catalog …`: every Dag, task and asset of the platform, to look up."""

from __future__ import annotations

from pathlib import Path

import click

from airfleet.cli import options
from airfleet_provider.contract import wording


@click.group("catalog", short_help="Every Dag, task and asset, as web pages and JSON.")
def command() -> None:
    """Make a catalogue of the platform that people can search without an account in Airflow.

    \b
    Example:
      airfleet catalog build --out catalog
    """


@command.command("build")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("catalog"),
    show_default=True,
    help="The folder to write; a new one, an empty one, or one of a build before.",
)
@options.project_option
@options.state
def build_command(out: Path, project: Path, state: Path | None) -> None:
    """Write index.html, a page for each Dag and asset, and catalog.json.

    The pages need no server and no network: open index.html, or publish the folder. They show owners, descriptions,
    schedules, tags, SLAs, the last success, tasks and lineage, as they are now. Who sees the pages sees all Dags.

    \b
    Example:
      airfleet catalog build --out /srv/www/catalog
    """
    from airfleet.operations import explanation  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations.catalog import reading, site  # noqa: PLC0415

    catalog = reading.look(explanation.find_place(project, state))
    site.write(catalog, out)
    dags = catalog.dags.values()
    tasks = sum(len(dag.tasks) for dag in dags)
    counted = (len(catalog.dags), "Dag"), (tasks, "task"), (len(catalog.graph.assets), "asset")
    lacking = (sum(not dag.has_owner for dag in dags), "owner"), (sum(not dag.has_doc for dag in dags), "description")
    for missing, noun in lacking:
        if missing:
            click.echo(f"without {noun}: {wording.count(missing, 'Dag')}", err=True)
    click.echo(f"{', '.join(wording.count(number, noun) for number, noun in counted)}: {out / 'index.html'}")
