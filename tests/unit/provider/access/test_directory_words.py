"""What the directory says of a user, as Airflow's tables keep it: users may write these words themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet_provider.access.directory_store import SQL, DirectoryStore
from airfleet_provider.contract.directory import Directory, DirectoryGroup, DirectoryUser, LdapSource

DIRECTORY = Directory(LdapSource(("ldaps://a",), "cn=b", "dc=c", "dc=c"), {"team": ("Viewer",)})


class MadeUpUsers:
    """Airflow's users, none so far."""

    def __init__(self) -> None:
        self.written: dict[str, Any] = {}

    @contextmanager
    def open(self) -> Iterator[Any]:
        yield self

    def query(self, sql: str, _: object) -> list[dict[str, int]]:
        return [{"count": 0}] if sql == SQL["taken"] else []

    def execute(self, *_: object) -> None:
        return

    def find(self, _: str) -> None:
        return

    def make(self, name: str) -> Any:  # noqa: ANN401 - a user of Airflow
        return SimpleNamespace(username=name, roles=[], email="")

    def write(self, _: object, **words: Any) -> int:  # noqa: ANN401 - as Airflow's
        self.written = words
        return 7


@pytest.mark.parametrize(
    ("email", "first", "last", "kept"),
    [
        ("ann@example.com", "Żaneta", "O'Neil", ("ann@example.com", "Żaneta", "O'Neil")),
        ("a\0@example.com", "A\0nn", "\x1b[2J", ("", "A\\x00nn", "\\x1b[2J")),
        (f"{'a' * 600}@example.com", "Ann", "", ("", "Ann", "")),
        ("a@b\r\nBcc: c", "\u202eAnn", "", ("", "\\u202eAnn", "")),
    ],
)
def test_words_that_no_table_keeps_keep_nobody_out(email: str, first: str, last: str, kept: tuple[str, ...]) -> None:
    users: Any = MadeUpUsers()
    found = DirectoryUser("ann", "1", email, first, last, (DirectoryGroup("team"),))
    assert DirectoryStore(DIRECTORY, users.open).sign_in(found) == 7
    address = users.written["email"]
    assert (address if not address.endswith(".invalid") else "", users.written["first"], users.written["last"]) == kept
