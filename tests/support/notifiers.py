"""A notifier on a real database, with receivers of a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import dict_row

from airfleet_provider.contract import alert_schema
from airfleet_provider.contract.notification_policy import Receiver, ReceiverType
from airfleet_provider.notifications.notifier import Notifier
from deadline import wait_until
from receivers import HttpReceiver

Row = dict[str, Any]


class Database:
    """The database as a loop's context gives it."""

    def __init__(self, dsn: str) -> None:
        self.epoch: int | None = 1
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)

    @contextmanager
    def write(self) -> Iterator[Connection[Row]]:
        with self.connection.transaction():
            yield self.connection

    share = write


def webhook(server: HttpReceiver, name: str = "hook") -> Receiver:
    return Receiver(name, ReceiverType.WEBHOOK, url=server.url)


def pager(server: HttpReceiver) -> Receiver:
    return Receiver("pager", ReceiverType.PAGERDUTY, url=server.url, secret="R0UTING")


def fire(database: Database, name: str) -> int:
    number = alert_schema.raise_alert(
        database.connection, fingerprint=name, source="test", name=name, severity="warning", summary=f"{name} is wrong"
    )
    assert number
    return number


def heal(database: Database, name: str) -> None:
    assert alert_schema.resolve_alert(database.connection, name)


def read_states(database: Database) -> Counter[str]:
    return Counter(row["state"] for row in database.connection.execute("SELECT state FROM airfleet.notification"))


def settle(notifier: Notifier, database: Database) -> None:
    """Run the loop until every notification has an end."""

    def is_settled() -> bool:
        notifier.once(database)
        return not notifier.is_sending() and not {"pending", "sending"} & read_states(database).keys()

    wait_until(is_settled, "all is sent", every_s=0.03)


def run_for_a_while(notifier: Notifier, database: Database, turns: int = 5) -> None:
    for _ in range(turns):
        notifier.once(database)
        wait_until(lambda: all(one.outcome.done() for one in notifier._sending.values()), "an outcome")


def list_statuses(http: HttpReceiver) -> Counter[tuple[str, str]]:
    return Counter((alert["name"], alert["status"]) for one in http.taken for alert in one.body["alerts"])
