"""`airflow airfleet execution-api`: serves the API that tasks report to, apart from the UI."""

from __future__ import annotations

import argparse
import logging
import os
from typing import Any

from airfleet_provider.api_server.outage_responses import OutageResponses, note
from airfleet_provider.compat.calls import execution_api, metadata_db
from airfleet_provider.compat.patches import execution_api as patches
from airfleet_provider.contract import fallbacks
from airfleet_provider.execution_api.fast_path import FLUSH_S, Bypass, FastPath, Rows

log = logging.getLogger("airfleet")


def wrap(app: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """Return Airflow's application behind the fast path, or without it if this Airflow is not supported."""
    patches.report_outages(note)
    patches.accept_early_tokens()
    app = OutageResponses(app)
    counter = fallbacks.open_counter(fallbacks.EXECUTION_API, os.environ, flush_every_s=FLUSH_S)
    if obstacle := execution_api.find_obstacle():
        log.warning("Airflow's own code answers every call of a task: %s", obstacle)
        return Bypass(app, counter, obstacle)
    return FastPath(app, execution_api.Models(), Rows(metadata_db.connect).ask, counter=counter)


def run_command(arguments: argparse.Namespace) -> None:
    """Serve the API until a signal stops the process."""
    patches.serve(arguments, wrap)
