"""Options that several commands share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from airfleet.errors import UsageError

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


def read_moment(text: str) -> datetime:
    """Return the moment that a user wrote; without a time zone it is UTC. Raises UsageError for another text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a moment", hint='write it as "2026-11-24 16:05:30"') from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
