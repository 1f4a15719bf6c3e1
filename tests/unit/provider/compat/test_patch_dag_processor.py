"""The names of Airflow's Dag processor that compat relies on, as the installed Airflow has them."""

from __future__ import annotations

from pathlib import Path

import airflow
from airflow.models.dagbag import DagPriorityParsingRequest

from airfleet_provider.compat.patches import dag_processor

# To import it takes seconds, as it comes with all other routes.
ROUTE = Path(airflow.__file__).parent / "api_fastapi" / "core_api" / "routes" / "public" / "dag_parsing.py"


def test_a_request_is_a_row_with_a_bundle_and_a_file() -> None:
    table = DagPriorityParsingRequest.__table__
    assert table.name == "dag_priority_parsing_request"
    assert {"bundle_name", "relative_fileloc"} <= set(table.columns.keys())
    assert "DagPriorityParsingRequest(" in ROUTE.read_text()


def test_the_command_takes_the_options_of_airflow_s_own() -> None:
    flags = {flag for option in dag_processor.list_processor_options() for flag in option.flags}
    assert {"--pid", "--bundle-name"} <= flags
