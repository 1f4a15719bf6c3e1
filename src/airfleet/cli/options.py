"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

project = click.argument("project", type=click.Path(path_type=Path), default=Path())
project_option = click.option(
    "--project", type=click.Path(path_type=Path), default=Path(), help="The project folder.  [default: the current one]"
)
state = click.option(
    "--state", type=click.Path(path_type=Path), help="The state folder.  [default: .airfleet in the project]"
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
accept_new_hosts = click.option(
    "--accept-new-hosts",
    is_flag=True,
    help="Accept hosts with an unknown SSH key: print the fingerprints and add the keys to the known hosts.",
)
