"""What airfleet adds to an api-server: downloads of releases, acknowledgements, a limit on logins, 503 during outages.

Every process that loads plugins imports this module; only an api-server imports what the module adds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airfleet_provider.access import login_throttle
from airfleet_provider.bundles import archive_client
from airfleet_provider.contract import alert_links


async def answer(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Serve the download of releases as an ASGI application, which is imported at the first request."""
    from airfleet_provider.bundles.archive_app import app  # noqa: PLC0415 - FastAPI costs every task's process 0.2 CPU-s

    await app(scope, receive, send)


async def acknowledge(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Serve the page that acknowledges an alert, as above."""
    from airfleet_provider.api_server.acknowledge_app import app  # noqa: PLC0415 - as above

    await app(scope, receive, send)


def answer_honestly(app: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """Return the application with 503 in place of refusals that a database outage causes.

    Only an api-server calls this function. So the function also restricts the hosts from which it requests logs.
    """
    from airfleet_provider.api_server.outage_responses import OutageResponses  # noqa: PLC0415
    from airfleet_provider.compat.patches import log_requests  # noqa: PLC0415

    log_requests.restrict()
    return OutageResponses(app)


class AirfleetPlugin(AirflowPlugin):  # type: ignore[misc]
    """Mounts the download of releases and the page of an alert beside Airflow's API, and limits failed logins.

    Both require a signature instead of a login.
    """

    name = "airfleet-releases"
    fastapi_apps = [  # noqa: RUF012
        {"app": answer, "url_prefix": archive_client.PATH, "name": "airfleet releases"},
        {"app": acknowledge, "url_prefix": alert_links.PATH, "name": "airfleet alerts"},
    ]
    # The last is the outermost: the throttle does not count what an outage refused.
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": answer_honestly, "name": "airfleet outages"},
        {"middleware": login_throttle.LoginThrottle, "args": [], "kwargs": {}, "name": "airfleet login throttle"},
    ]
