"""The confirmation of users: what the directory cannot say of one user is no obstacle for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airfleet_provider.access.directory_errors import DirectoryError, UnclearUserError
from airfleet_provider.access.directory_store import ClaimedUser
from airfleet_provider.access.directory_sweep import sweep

NAMES = ("ann", "bob", "carol")


class MadeUpStore:
    """Has three users that are due."""

    def __init__(self) -> None:
        self.confirmed: list[str] = []

    def claim(self) -> list[ClaimedUser]:
        return [ClaimedUser(number, name, "") for number, name in enumerate(NAMES)]

    def confirm(self, claimed: ClaimedUser, found: object) -> str:
        self.confirmed.append(claimed.name)
        return ""


class MadeUpClient:
    """Fails for one user."""

    def __init__(self, error: DirectoryError) -> None:
        self._error = error

    @contextmanager
    def open(self) -> Iterator[Any]:
        yield self

    def find(self, name: str) -> None:
        if name == "ann":
            raise self._error


def test_one_user_who_is_there_twice_or_in_too_many_groups_keeps_nobody_else_from_being_confirmed() -> None:
    store: Any = MadeUpStore()
    client: Any = MadeUpClient(UnclearUserError("2 entries have uid=ann", "narrow users.base"))
    sweep(store, client)
    assert store.confirmed == ["bob", "carol"]


def test_a_directory_that_does_not_answer_ends_the_turn() -> None:
    store: Any = MadeUpStore()
    client: Any = MadeUpClient(DirectoryError("no answer"))
    with pytest.raises(DirectoryError):
        sweep(store, client)
    assert not store.confirmed
