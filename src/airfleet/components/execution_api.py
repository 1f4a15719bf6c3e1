"""The API that tasks report to, apart from the UI, so that neither waits for the other."""

from __future__ import annotations

from airfleet.components.health import HttpCheck
from airfleet.components.model import Component, Process, Site

NAME = "execution-api"


def describe(site: Site, *, runners: tuple[str, ...]) -> Component:
    """Stops after the `runners`, below which tasks run."""
    port = str(site.execution_port)
    return Component(
        name=NAME,
        processes=(
            Process(
                name=NAME,
                commands=(("airflow", "airfleet", "execution-api", "--apps", "execution", "--port", port),),
                # Airflow makes its versioned routes at the first call below /execution, and that takes seconds.
                health=HttpCheck(
                    f"{site.execution_url}/", status=404, warm_up=f"{site.execution_url}/execution/health"
                ),
                after=("metadata",),
                stops_after=runners,  # running tasks report their end to it
                preload=(
                    "airflow.cli.commands.api_server_command",
                    "airfleet_provider.execution_api.command",
                    "uvicorn.protocols.http.httptools_impl",
                    "uvicorn.loops.uvloop",
                ),
                url=site.execution_url,
                stop_timeout_s=5,
            ),
        ),
    )
