"""What the commands that ask the database say when it fails them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from airfleet.errors import AirfleetError
from airfleet.releases.repository import Repository
from airfleet.spec.secrets import Secret


class Connection:
    """A connection that fails at the first statement."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, *_: object) -> None:
        raise self.error


@contextmanager
def failing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    monkeypatch.setattr(psycopg, "connect", lambda *_, **__: Connection(error))
    yield Repository(Secret("host=db"), "shop")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.errors.AdminShutdown("terminating connection due to administrator command\nmore"), "went away: term"),
        (psycopg.OperationalError("server closed the connection unexpectedly"), "went away: server closed"),
        (psycopg.InterfaceError("the connection is lost"), "went away: the connection is lost"),
        (psycopg.errors.InsufficientPrivilege("permission denied for table release"), "refused this: permission"),
        (psycopg.errors.UndefinedColumn('column "keys" does not exist'), "refused this: column"),
        (psycopg.errors.DiskFull("could not extend file"), "went away: could not extend"),
        (psycopg.errors.UndefinedTable('relation "airfleet.release" does not exist'), "has no releases"),
        (psycopg.Error(), "refused this: Error"),
    ],
)
def test_every_error_of_the_database_says_what_and_has_a_hint(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(error, monkeypatch) as ledger, pytest.raises(AirfleetError, match=said) as caught:
        ledger.pin("r1", pinned=True)
    assert caught.value.hint
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("start", ["airfleet up", "airfleet apply"])
def test_the_hint_starts_the_platform_that_is_meant(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(psycopg, "connect", refuse)
    with pytest.raises(AirfleetError) as caught:
        Repository(Secret("host=db"), "shop", start=start).pin("r1", pinned=True)
    assert caught.value.hint == start
