"""The web and API server: the UI, the REST API, and the API that tasks report to."""

from __future__ import annotations

from airfleet.components.base import Component, Http, Process, Site

# The routes cost 3 s to import and nobody else needs them, so they are not part of the common image.
ROUTES = (
    "airflow.api_fastapi.core_api.routes.public",
    "airflow.api_fastapi.core_api.routes.ui",
    "airflow.providers.fab.auth_manager.fab_auth_manager",
    "airflow.providers.fab.www.app",
    "airflow.cli.commands.api_server_command",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.loops.uvloop",
)


def describe(site: Site) -> Component:
    return Component(
        name="api-server",
        processes=(
            Process(
                name="api-server",
                commands=(("airflow", "api-server"),),
                # The versioned routes that tasks call are made at the first call, which blocks the server for seconds.
                health=Http(f"{site.api_url}/api/v2/version", warm_up=f"{site.api_url}/execution/health"),
                after=("metadata",),
                stops_after=("scheduler",),  # running tasks report their end to it
                preload=ROUTES,
                url=site.api_url,
                stop_timeout_s=5,
            ),
        ),
    )
