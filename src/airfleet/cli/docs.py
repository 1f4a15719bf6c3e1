"""`airfleet docs`: the manual of fleet.yaml, from the model that checks it."""

from __future__ import annotations

import json

import click

from airfleet.spec import reference


@click.command("docs", short_help="Print the manual of fleet.yaml.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema for editors instead of the commented file.")
def command(schema: bool) -> None:
    """Print a commented fleet.yaml with every key, its type and its default.

    \b
    Example:
      airfleet docs --schema > fleet.schema.json
    """
    click.echo(json.dumps(reference.schema(), indent=2) if schema else reference.reference())
