"""The plugin of the api-server: all who load plugins import it, and only an api-server what it mounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airfleet_provider import login_throttle, shelf


async def answer(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """The shelf as an ASGI application, imported when it is first asked."""
    from airfleet_provider.shelf_app import app  # noqa: PLC0415 - FastAPI costs every task's process 0.2 CPU-s

    await app(scope, receive, send)


class ShelfPlugin(AirflowPlugin):  # type: ignore[misc]
    """Mounts the shelf beside Airflow's API, and limits failed logins in front of it.

    The shelf asks for a signature where Airflow asks for a login.
    """

    name = "airfleet-releases"
    fastapi_apps = [{"app": answer, "url_prefix": shelf.PATH, "name": "airfleet releases"}]  # noqa: RUF012
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": login_throttle.LoginThrottle, "args": [], "kwargs": {}, "name": "airfleet login throttle"}
    ]
