"""The web and API server: the UI and the REST API."""

from __future__ import annotations

from airfleet.components.health import HttpCheck
from airfleet.components.model import Component, Process, Site

# The routes cost 3 s to import and nobody else needs them, so they are not part of the common image.
ROUTES = (
    "airflow.api_fastapi.core_api.routes.public",
    "airflow.api_fastapi.core_api.routes.ui",
    "airflow.providers.fab.www.app",
    "airflow.cli.commands.api_server_command",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.loops.uvloop",
)


def describe(site: Site, *, balancers: tuple[str, ...] = ()) -> Component:
    """What `balancers` say of a request's origin is believed, and nobody else."""
    command = ("airflow", "api-server", "--apps", "core")
    return Component(
        name="api-server",
        processes=(
            Process(
                name="api-server",
                commands=((*command, "--proxy-headers") if balancers else command,),
                env={"FORWARDED_ALLOW_IPS": ",".join(balancers)} if balancers else {},
                health=HttpCheck(f"{site.api_url}/api/v2/version"),
                after=("metadata",),
                preload=ROUTES,
                url=site.api_url,
                stop_timeout_s=5,
            ),
        ),
    )
