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
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "datahub", "openmetadata"]),
    default="html",
    show_default=True,
    help="Web pages, or the entities of another catalogue.",
)
@options.project_option
@options.state
def build_command(out: Path, form: str, project: Path, state: Path | None) -> None:
    """Write index.html, a page for each Dag and asset, and catalog.json.

    The pages need no server and no network: open index.html, or publish the folder. They show owners, descriptions,
    schedules, tags, SLAs, the last success, tasks and lineage, as they are now. Who sees the pages sees all Dags.

    With `--format datahub` or `openmetadata`, it writes JSON files that these programs read, and no pages.

    \b
    Example:
      airfleet catalog build --out /srv/www/catalog
      airfleet catalog build --format datahub --out entities
    """
    from airfleet.operations import explanation  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations.catalog import entities, reading, site  # noqa: PLC0415

    catalog = reading.look(explanation.find_place(project, state))
    if form == "html":
        site.write(catalog, out)
        written = [out / "index.html"]
    else:
        written = [*site.write_entities(catalog, out, entities.EntityFormat(form))]
    dags = catalog.dags.values()
    tasks = sum(len(dag.tasks) for dag in dags)
    counted = (len(catalog.dags), "Dag"), (tasks, "task"), (len(catalog.graph.assets), "asset")
    lacking = (sum(not dag.has_owner for dag in dags), "owner"), (sum(not dag.has_doc for dag in dags), "description")
    for missing, noun in lacking:
        if missing:
            click.echo(f"without {noun}: {wording.count(missing, 'Dag')}", err=True)
    click.echo(f"{', '.join(wording.count(number, noun) for number, noun in counted)}: {', '.join(map(str, written))}")
