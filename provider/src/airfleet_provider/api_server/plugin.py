"""What airfleet adds to an api-server: Fleet pages, the audit log, downloads of releases, a limit on logins, 503s.

Every process that loads plugins imports this module; only an api-server imports what the module adds.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airfleet_provider.access import plugin_list
from airfleet_provider.bundles import archive_client
from airfleet_provider.contract import alert_links, slot_rules

API, FILES = "/airfleet/api", "/airfleet/console"
# Relative to the base of Airflow's UI, which may lie below a path.
BUNDLE = f"{FILES[1:]}/fleet.js"


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


async def take_reports(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Serve the reports of workers, as above."""
    from airfleet_provider.api_server.slots_app import app  # noqa: PLC0415 - as above

    await app(scope, receive, send)


async def serve_pages(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Serve the API of the Fleet pages, as above."""
    from airfleet_provider.console.app import app  # noqa: PLC0415 - as above

    await app(scope, receive, send)


async def serve_files(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Serve the built files of the Fleet pages, as above."""
    from airfleet_provider.console.files import app  # noqa: PLC0415 - as above

    await app(scope, receive, send)


def answer_honestly(app: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """Return the application with 503 in place of refusals that a database outage causes.

    Only an api-server calls this function. So the function also restricts the hosts from which it requests logs.
    """
    from airfleet_provider.api_server.outage_responses import OutageResponses  # noqa: PLC0415
    from airfleet_provider.compat.patches import log_requests  # noqa: PLC0415

    log_requests.restrict()
    return OutageResponses(app)


def record_changes(app: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """Return the application behind the audit log."""
    from airfleet_provider.access.known_tokens import open_tokens  # noqa: PLC0415
    from airfleet_provider.audit.api_server import wrap  # noqa: PLC0415

    return wrap(app, open_tokens().check)


def guard_browsers(app: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """Return the application with security headers on each answer."""
    from airfleet_provider.api_server.security_headers import SecurityHeaders  # noqa: PLC0415

    return SecurityHeaders(app)


def believe_proxy(app: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """Return the application behind what believes the forwarding headers of HAProxy on this host alone."""
    from airfleet_provider.api_server.local_proxy import LocalProxy  # noqa: PLC0415

    return LocalProxy.wrap(app, os.environ)


class _Timetables:
    """The timetables of crons with jitter, which are imported when somebody asks for them."""

    def __get__(self, plugin: object, kind: type) -> list[Any]:
        from airfleet_provider.routing import jitter  # noqa: PLC0415

        return list(jitter.KINDS.values())


class AirfleetPlugin(AirflowPlugin):  # type: ignore[misc]
    """Adds the Fleet pages to Airflow's UI, mounts what they need beside Airflow's API, and limits failed logins.

    The download of releases, reports of workers and the page of an alert require a signature instead of a login.
    """

    name = "airfleet-releases"
    timetables = _Timetables()
    fastapi_apps = [  # noqa: RUF012
        {"app": answer, "url_prefix": archive_client.PATH, "name": "airfleet releases"},
        {"app": acknowledge, "url_prefix": alert_links.PATH, "name": "airfleet alerts"},
        {"app": take_reports, "url_prefix": slot_rules.PATH, "name": "airfleet workers"},
        {"app": serve_pages, "url_prefix": API, "name": "airfleet pages"},
        {"app": serve_files, "url_prefix": FILES, "name": "airfleet files"},
    ]
    # Airflow's UI loads the bundle once, and finds each component in `globalThis` by its name.
    react_apps = [  # noqa: RUF012
        {
            "name": "Fleet",
            "bundle_url": BUNDLE,
            "url_route": "fleet",
            "destination": "nav",
            "nav_top_level": True,
            "icon": f"{FILES[1:]}/fleet.svg",
            "icon_dark_mode": f"{FILES[1:]}/fleet-dark.svg",
        },
        *(
            {"name": "Why it waits", "bundle_url": BUNDLE, "url_route": f"why-{place}", "destination": destination}
            for place, destination in (("task", "task_instance"), ("run", "dag_run"), ("dag", "dag"))
        ),
        {"name": "Trace", "bundle_url": BUNDLE, "url_route": "trace-run", "destination": "dag_run"},
    ]
    # The last is the outermost: the audit log and its limits do not take an outage for a refusal, and ask for the
    # address of the client that is believed; each answer gets the headers.
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": plugin_list.PluginList, "name": "airfleet list of plugins"},
        {"middleware": answer_honestly, "name": "airfleet outages"},
        {"middleware": record_changes, "name": "airfleet audit log"},
        {"middleware": believe_proxy, "name": "airfleet forwarding headers"},
        {"middleware": guard_browsers, "name": "airfleet security headers"},
    ]
