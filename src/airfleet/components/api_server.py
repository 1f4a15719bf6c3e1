"""The web and API server: the UI and the REST API."""

from __future__ import annotations

from airfleet.components.health import HttpCheck
from airfleet.components.model import Component, Process, Site

# The routes take 3 s to import and only this process needs them, so they are not in the image.
ROUTES = (
    "airflow.api_fastapi.core_api.routes.public",
    "airflow.api_fastapi.core_api.routes.ui",
    "airflow.providers.fab.www.app",
    "airflow.cli.commands.api_server_command",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.loops.uvloop",
)


def describe(site: Site, *, trusted: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> Component:
    """Describe the api-server. It trusts forwarding headers only from the addresses `trusted`."""
    command = ("airflow", "api-server", "--apps", "core", *options)
    return Component(
        name="api-server",
        processes=(
            Process(
                name="api-server",
                commands=((*command, "--proxy-headers") if trusted else command,),
                env={"FORWARDED_ALLOW_IPS": ",".join(trusted)} if trusted else {},
                health=HttpCheck(f"{site.api_url}/api/v2/version"),
                after=("metadata",),
                preload=ROUTES,
                url=site.api_url,
                stop_timeout_s=5,
            ),
        ),
    )
