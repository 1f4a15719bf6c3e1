"""The execution API, to which tasks report. It is a process apart from the UI, so that neither delays the other."""

from __future__ import annotations

from airfleet.components.health import HttpCheck
from airfleet.components.model import Component, Process, Site
from airfleet_provider.contract import environment

NAME = "execution-api"


def describe(
    site: Site, *, runners: tuple[str, ...], options: tuple[str, ...] = (), calls_database: str = ""
) -> Component:
    """Describe the execution API, with more `options` of its command.

    It stops after the processes `runners`, because they are the parents of tasks. `calls_database` is the name under
    which a pooler has sessions for the calls of tasks.
    """
    port = str(site.execution_port)
    return Component(
        name=NAME,
        processes=(
            Process(
                name=NAME,
                commands=(("airflow", "airfleet", "execution-api", "--apps", "execution", "--port", port, *options),),
                # Airflow builds its versioned routes at the first request below /execution, and that takes seconds.
                health=HttpCheck(
                    f"{site.execution_url}/", status=404, warm_up=f"{site.execution_url}/execution/health"
                ),
                after=("metadata",),
                stops_after=runners,  # running tasks report their end to the execution API
                preload=(
                    "airflow.cli.commands.api_server_command",
                    "airfleet_provider.execution_api.command",
                    "uvicorn.protocols.http.httptools_impl",
                    "uvicorn.loops.uvloop",
                ),
                url=site.execution_url,
                stop_timeout_s=5,
                env={environment.CALLS_DATABASE: calls_database} if calls_database else {},
            ),
        ),
    )
