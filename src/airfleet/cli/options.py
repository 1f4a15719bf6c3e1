"""What several verbs take on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

project = click.argument("project", type=click.Path(path_type=Path), default=Path())
project_option = click.option(
    "--project", type=click.Path(path_type=Path), default=Path(), help="The project folder.  [default: this one]"
)
state = click.option(
    "--state", type=click.Path(path_type=Path), help="The state folder.  [default: .airfleet in the project]"
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
accept_new_hosts = click.option(
    "--accept-new-hosts",
    is_flag=True,
    help="Accept hosts whose SSH key is not known yet: shows the fingerprints, and writes them to the known hosts.",
)
