"""Read what happened on a platform from its database."""

from __future__ import annotations

from datetime import datetime

from airfleet.operations import explanation
from airfleet.operations.explanation import ReadablePlatform
from airfleet_provider.contract.incident import reading
from airfleet_provider.contract.incident.events import TimeLine


def look(place: ReadablePlatform, since: datetime, until: datetime) -> TimeLine:
    """Return what happened in a span of time. Raises AirfleetError if the database cannot be read."""
    with explanation.open_database(place) as database, database.take() as query:
        return reading.read(query, since, until)
