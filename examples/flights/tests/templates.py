"""Templates rendered as Airflow would render them, without Airflow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from include.settings import MOST_REFUSED, SQL, WEATHER_BANDS, Z


def render(name: str, **variables: str) -> str:
    """Return the SQL of a file of include/sql, with Airflow variables as given."""
    environment = Environment(loader=FileSystemLoader(SQL), undefined=StrictUndefined, autoescape=False)
    context: dict[str, Any] = {
        "params": {"most_refused": MOST_REFUSED, "weather_bands": WEATHER_BANDS, "z": Z},
        "var": SimpleNamespace(value=variables),
    }
    return environment.get_template(name).render(context)
