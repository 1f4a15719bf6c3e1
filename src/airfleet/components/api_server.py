"""The web and API server: the UI and the REST API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airfleet.components.health import HttpCheck
from airfleet.components.model import Component, File, Process, Site
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


NAME = "api-server"
# FAB reads its way to log in from a file of Python. This one takes it from data, and is the same on every platform.
SIGN_IN = "from airfleet_provider.access import flask_settings\n\nglobals().update(flask_settings.read_settings())\n"
SIGN_IN_FILES = ("directory.json", "webserver_config.py")
CONFIG_FILE = "AIRFLOW__FAB__CONFIG_FILE"


def list_sign_in(folder: Path, directory: Secret | None) -> tuple[File, ...]:
    """Return the files by which an api-server finds users who are not in fleet.yaml; the first holds a secret."""
    if directory is None:
        return ()
    data, code = SIGN_IN_FILES
    return (File(folder / data, directory), File(folder / code, SIGN_IN))


def list_sign_in_variables(files: tuple[File, ...]) -> dict[str, str]:
    """Return the environment that names the files of `list_sign_in`."""
    if not files:
        return {}
    data, code = files
    return {environment.DIRECTORY: str(data.path), CONFIG_FILE: str(code.path)}


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
    directory: Secret | None = None,
    folder: Path | None = None,
) -> Component:
    """Describe the api-server. It believes forwarding headers only from the addresses `trusted`, and from `proxy`.

    Those of any other user of this host it does not believe, so no address of this host may be in `trusted`.
    `directory` says where users are who are not in fleet.yaml; its files lie in `folder`.
    """
    files = list_sign_in(folder or site.state / "secrets", directory)
    command = ("airflow", "api-server", "--apps", "core", *options)
    env: dict[str, str | Secret] = {"FORWARDED_ALLOW_IPS": ",".join(trusted)} if trusted else {}
    env |= list_sign_in_variables(files)
    if proxy:
        env[environment.LOCAL_PROXY] = f"{proxy.name} {','.join(proxy.addresses)}"
    return Component(
        name=NAME,
        processes=(
            Process(
                name=NAME,
                commands=((*command, "--proxy-headers") if trusted else command,),
                env=env,
                health=HttpCheck(f"{site.api_url}/api/v2/version"),
                after=("metadata",),
                preload=ROUTES,
                url=site.api_url,
                stop_timeout_s=5,
            ),
        ),
        files=files,
    )
