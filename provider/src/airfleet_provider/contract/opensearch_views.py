"""Saved views for OpenSearch Dashboards: searches and a dashboard over the lines that a log store keeps there."""

from __future__ import annotations

import importlib.resources

# The beginning of the names of indexes and of the ids of views, unless fleet.yaml says another.
PREFIX = "airfleet-logs"


def read_views(prefix: str) -> str:
    """Return the saved objects, one a line, as Dashboards imports them, for indexes whose names begin so."""
    text = (importlib.resources.files(__package__) / "opensearch_views.ndjson").read_text(encoding="utf-8")
    return text.replace(PREFIX, prefix)
