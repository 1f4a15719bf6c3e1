"""A database with airfleet's tables, and receivers of notifications."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from airfleet_provider.notifications import notifier as notifier_module
from notifiers import Database
from receivers import HttpReceiver, MailReceiver, serve_http, serve_mail
from servers import Server, serve_own


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_own() as one:
        yield one


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    server.query("TRUNCATE airfleet.alert, airfleet.notification, airfleet.silence CASCADE")
    one = Database(server.dsn)
    with closing(one.connection):
        yield one


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    with serve_http() as one:
        yield one


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailReceiver]:
    with serve_mail(tmp_path) as one:
        yield one


@pytest.fixture
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers rest for hundredths of a second."""
    monkeypatch.setattr(notifier_module, "FIRST_REST_S", 0.02)
    monkeypatch.setattr(notifier_module, "LONGEST_REST_S", 0.1)
