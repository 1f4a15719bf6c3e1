"""The dead man's switch in both directions.

The watchdog alert of Prometheus must arrive regularly; its absence is an alert. And while alerting works, a URL outside
the fleet is requested regularly; its owner raises the alarm when the requests stop.
"""

from __future__ import annotations

import logging
from typing import Any

import httpx
from psycopg import Connection

from airfleet_provider.contract.alert_schema import WATCHDOG, Severity, raise_alert, resolve_alert
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "watchdog")

log = logging.getLogger(__name__)

EVERY_S = 15.0
PING_EVERY_S = 60.0
PING_ANSWER_S = 10.0
# While a notification has been unsent for so long, alerting does not work.
UNSENT_S = 900.0
FINGERPRINT = "airfleet:watchdog"

Row = dict[str, Any]


class PingError(RuntimeError):
    """The URL did not answer with a success. The message does not name the URL, which may be a secret."""


def check(connection: Connection[Row], silent_after_s: float) -> bool:
    """Raise or resolve the alert about the watchdog; return whether the watchdog is silent.

    The first call starts the clock of a watchdog that never arrived.
    """
    connection.execute(SQL["begin"], {"name": WATCHDOG})
    (row,) = connection.execute(SQL["age"], {"name": WATCHDOG}).fetchall()
    if row["age_s"] <= silent_after_s:
        resolve_alert(connection, FINGERPRINT)
        return False
    raise_alert(
        connection,
        fingerprint=FINGERPRINT,
        source="airfleet",
        name="MonitoringSilent",
        severity=Severity.CRITICAL,
        summary=f"the watchdog alert of Prometheus has not arrived for {row['age_s'] / 60:.0f} minutes",
        description="Prometheus, Alertmanager or their way to the agents is down, so no other alert of theirs arrives.",
    )
    return True


def is_alerting(connection: Connection[Row]) -> bool:
    """Return whether notifications get through: no notification waits for longer than UNSENT_S."""
    (row,) = connection.execute(SQL["unsent"], {"after": UNSENT_S}).fetchall()
    return not row["is_stuck"]


def ping(url: str) -> None:
    """Request the URL.

    Raises:
        PingError: It does not answer, or not with a success.
    """
    try:
        answer = httpx.get(url, timeout=PING_ANSWER_S, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PingError(f"the ping failed: {type(error).__name__}") from None
    if not answer.is_success:
        raise PingError(f"the ping was answered with {answer.status_code}")
