"""The web and API server: the UI and the REST API."""

from __future__ import annotations

from dataclasses import dataclass

from airfleet.components.health import HttpCheck
from airfleet.components.model import Component, Process, Site
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import environment

# The routes take 3 s to import and only this process needs them, so they are not in the image.
ROUTES = (
    "airflow.api_fastapi.core_api.routes.public",
    "airflow.api_fastapi.core_api.routes.ui",
    "airflow.providers.fab.www.app",
    "airflow.cli.commands.api_server_command",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.loops.uvloop",
)


@dataclass(frozen=True, slots=True)
class LocalProxyUser:
    """The user as which HAProxy runs on the host of an api-server, and the addresses from which it connects."""

    name: str
    addresses: tuple[str, ...]


def describe(
    site: Site,
    *,
    trusted: tuple[str, ...] = (),
    proxy: LocalProxyUser | None = None,
    options: tuple[str, ...] = (),
) -> Component:
    """Describe the api-server. It believes forwarding headers only from the addresses `trusted`, and from `proxy`.

    Those of any other user of this host it does not believe, so no address of this host may be in `trusted`.
    """
    command = ("airflow", "api-server", "--apps", "core", *options)
    env: dict[str, str | Secret] = {"FORWARDED_ALLOW_IPS": ",".join(trusted)} if trusted else {}
    if proxy:
        env[environment.LOCAL_PROXY] = f"{proxy.name} {','.join(proxy.addresses)}"
    return Component(
        name="api-server",
        processes=(
            Process(
                name="api-server",
                commands=((*command, "--proxy-headers") if trusted else command,),
                env=env,
                health=HttpCheck(f"{site.api_url}/api/v2/version"),
                after=("metadata",),
                preload=ROUTES,
                url=site.api_url,
                stop_timeout_s=5,
            ),
        ),
    )
