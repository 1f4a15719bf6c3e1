"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from airfleet.errors import UsageError
from airfleet_provider.contract.moments import read_span

SPAN_TOO = 'write 30m, 2h or 7d for a time before now, or "2026-11-24 16:05:30", which is UTC'

project = click.argument("project", type=click.Path(path_type=Path), default=Path())
project_option = click.option(
    "--project", type=click.Path(path_type=Path), default=Path(), help="The project folder.  [default: the current one]"
)
state = click.option(
    "--state", type=click.Path(path_type=Path), help="The state folder.  [default: .airfleet in the project]"
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
log_host = click.option("--host", help="Only lines of this host.")
since = click.option("--since", help="From this moment on, or from `2h` ago on.")
until = click.option("--until", help="Before this moment, or before `2h` ago.")
accept_new_hosts = click.option(
    "--accept-new-hosts",
    is_flag=True,
    help="Accept hosts with an unknown SSH key: print the fingerprints and add the keys to the known hosts.",
)


def read_moment(text: str, hint: str = 'write it as "2026-11-24 16:05:30"') -> datetime:
    """Return the moment that a user wrote; without a time zone it is UTC. Raises UsageError for another text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a moment", hint=hint) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_since(text: str, now: datetime) -> datetime:
    """Return the moment that a user wrote: `2h` is two hours before now. Raises UsageError for another text."""
    span = read_span(text)
    return read_moment(text, SPAN_TOO) if span is None else now - timedelta(seconds=span)


def list_words(values: Mapping[str, str | int | None]) -> list[str]:
    """Return the options of a command of Airflow's for the values that a user gave: `--try=2` for `try_number`."""
    names = {"try_number": "try"}
    return [
        f"--{names.get(name, name.replace('_', '-'))}={value}" for name, value in values.items() if value is not None
    ]
