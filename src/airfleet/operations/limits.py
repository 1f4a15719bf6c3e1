"""The limits of services of a platform, as a person sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, LiteralString

from airfleet.operations import metadata_database
from airfleet.workspace.project import find_project, read_fleet
from airfleet_provider.contract import limit_list
from airfleet_provider.contract.limit_list import LimitStatus


def read_limits(project: Path, state: Path | None) -> tuple[LimitStatus, ...]:
    """Return the limits of fleet.yaml, and what they do now.

    Raises:
        UsageError: There is no such project, or its fleet.yaml is wrong.
        AirfleetError: No platform runs there, or its database does not answer.
    """
    project = find_project(project)
    fleet = read_fleet(project)
    with metadata_database.connect(fleet, project, state, what="limits") as connection:

        def query(statement: LiteralString, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
            return connection.execute(statement, values).fetchall()

        return limit_list.list_limits(query, fleet.limits)
