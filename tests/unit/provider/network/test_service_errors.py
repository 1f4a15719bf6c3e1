"""Which errors say that a service is away."""

from __future__ import annotations

import socket
import ssl
import urllib.error
from datetime import UTC, datetime
from email.message import Message
from types import SimpleNamespace

import psycopg2
import pytest

from airfleet_provider.network.service_errors import find_retry_after, is_decided, name_error, says_away

NOW = datetime(2026, 11, 29, 6, tzinfo=UTC)


class AnswerError(Exception):
    """An error of an HTTP client, with its response."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status)
        self.response = SimpleNamespace(status_code=status, headers=headers)


class ServerError(psycopg2.OperationalError):
    """An error that PostgreSQL has sent."""

    pgcode = "40P01"


class ShutdownError(psycopg2.OperationalError):
    pgcode = "57P01"


def wrapped(inner: BaseException) -> Exception:
    try:
        try:
            raise inner
        except BaseException as error:
            raise RuntimeError("the hook failed") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionRefusedError(), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (socket.gaierror(-2, "Name or service not known"), True),
        (ssl.SSLError("handshake"), True),
        (urllib.error.URLError("refused"), True),
        (urllib.error.HTTPError("http://x", 404, "no", Message(), None), False),
        (urllib.error.HTTPError("http://x", 503, "busy", Message(), None), True),
        (AnswerError(500), True),
        (AnswerError(429), True),
        (AnswerError(401), False),
        (psycopg2.OperationalError("could not connect to server"), True),
        (ShutdownError("terminating connection"), True),
        (ServerError("deadlock detected"), False),
        (wrapped(ConnectionRefusedError()), True),
        (wrapped(AnswerError(404)), False),
        (ValueError("x"), False),
        (FileNotFoundError("x"), False),
        (AssertionError(), False),
        (MemoryError(), False),
    ],
)
def test_a_service_that_is_away_is_told_from_a_task_that_is_wrong(error: BaseException, away: bool) -> None:
    assert says_away(error) is away


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("Sun, 29 Nov 2026 06:02:00 GMT", 120.0),
        ("999999", 3600.0),
        ("-5", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Sun, 29 Nov 99999 06:02:00 GMT", None),
        ("Sun, 29 Nov 99999999999999999999 06:02:00 GMT", None),
        ("Sun, 29 Nov 2026 06:02:00 +99999999999999999999", None),
    ],
)
def test_the_service_may_say_when_to_come_back(value: str, seconds: float | None) -> None:
    assert find_retry_after(wrapped(AnswerError(429, **{"Retry-After": value})), NOW) == seconds


def test_an_error_has_a_short_name_and_may_be_a_decision() -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowSkipException  # noqa: PLC0415

    assert name_error(ConnectionRefusedError()) == "ConnectionRefusedError"
    assert name_error(AnswerError(500)) == f"{__name__}.AnswerError"
    of_a_file = type("BusyError", (Exception,), {"__module__": f"unusual_prefix_{'0a' * 20}_sales"})
    assert name_error(of_a_file()) == "sales.BusyError"
    assert is_decided(AirflowSkipException())
    assert not is_decided(AirflowException())
