"""What the agents' HTTP server takes for alerts: reports of Alertmanager, and acknowledgements.

Every agents process takes them, active or not: they only write rows.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

import psycopg
from psycopg import Connection

from airfleet_provider.agent_loops.server import Handlers, HttpAnswer, Request
from airfleet_provider.api_server import acknowledge_page
from airfleet_provider.api_server.acknowledge_page import Page
from airfleet_provider.contract import alert_links
from airfleet_provider.contract.alert_links import Capability
from airfleet_provider.contract.notification_policy import NotificationPolicy
from airfleet_provider.notifications import alertmanager

log = logging.getLogger(__name__)

ALERTS = "/alerts"
# A request in which statements take longer is of no use: Alertmanager repeats it.
STATEMENT_MS = 5000

Row = dict[str, Any]
Connect = Callable[[], AbstractContextManager[Connection[Row]]]


class AlertRequests:
    """The handlers, over a connection of its own for each request."""

    def __init__(self, policy: NotificationPolicy, connect: Connect, *, wall: Callable[[], float] = time.time) -> None:
        self._policy = policy
        self._connect = connect
        self._wall = wall

    @property
    def handlers(self) -> Handlers:
        return {
            ("POST", ALERTS): self.take_reports,
            ("GET", f"{alert_links.PATH}/"): self.show_alert,
            ("POST", f"{alert_links.PATH}/"): self.acknowledge,
        }

    def take_reports(self, request: Request) -> HttpAnswer:
        """Write what Alertmanager reports. 200 means that it is committed; Alertmanager repeats all else but a 4xx."""
        if not self._is_authorized(request.headers):
            return _say(HTTPStatus.UNAUTHORIZED, "a bearer token of this fleet is required")
        try:
            reports = alertmanager.parse(request.body)
        except ValueError as error:
            log.warning("refused a report: %s", error)
            return _say(HTTPStatus.BAD_REQUEST, str(error))

        def work(connection: Connection[Row]) -> HttpAnswer:
            alertmanager.record(connection, reports)
            return _say(HTTPStatus.OK, f"{len(reports)} alerts")

        return self._write(work)

    def show_alert(self, request: Request) -> HttpAnswer:
        """Show the alert of a link, with a button."""
        return self._follow(request, acknowledge_page.show)

    def acknowledge(self, request: Request) -> HttpAnswer:
        """Acknowledge the alert of a link."""
        return self._follow(
            request, lambda connection, allowed: acknowledge_page.acknowledge(connection, allowed, request.body)
        )

    def _follow(self, request: Request, work: Callable[[Connection[Row], Capability], Page]) -> HttpAnswer:
        """Answer a link. One that is not signed opens no connection; else each request of a stranger would."""
        found = acknowledge_page.verify(request.query, (self._policy.link_key,), now=self._wall())
        if isinstance(found, Page):
            return _answer(found)
        return self._write(lambda connection: _answer(work(connection, found)))

    def _write(self, work: Callable[[Connection[Row]], HttpAnswer]) -> HttpAnswer:
        try:
            with self._connect() as connection, connection.transaction():
                connection.execute(f"SET LOCAL statement_timeout = {STATEMENT_MS}")
                answer = work(connection)
        except psycopg.Error as error:
            log.warning("a request for alerts failed: %s", type(error).__name__)
            return _say(HTTPStatus.SERVICE_UNAVAILABLE, "the metadata database does not answer")
        return answer

    def _is_authorized(self, headers: Mapping[str, str]) -> bool:
        shown = next((text for name, text in headers.items() if name.lower() == "authorization"), "")
        scheme, _, token = shown.partition(" ")
        return scheme.lower() == "bearer" and any(
            hmac.compare_digest(token.strip().encode(), known.encode()) for known in self._policy.webhook_tokens
        )


def _say(status: HTTPStatus, text: str) -> HttpAnswer:
    return HttpAnswer(status, "text/plain", f"{text}\n".encode())


def _answer(page: Page) -> HttpAnswer:
    return HttpAnswer(page.status, acknowledge_page.CONTENT_TYPE, page.html.encode(), acknowledge_page.HEADERS)
