"""Tokens of service accounts in an api-server: how often the database is asked, and what a token may look like."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airfleet_provider.access.known_tokens import KEPT_S, KnownTokens
from airfleet_provider.contract import access_token
from airfleet_provider.contract.access_token import KeptToken, TokenState

TOKEN = access_token.make_token("0123456789ab", "s" * 43)
DAY = datetime(2026, 1, 1, tzinfo=UTC)


class TokenTable:
    """What the database has, and how often it was asked."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, 0
        self.state = TokenState.VALID
        self.is_away = False

    def read(self) -> list[KeptToken]:
        self.asked += 1
        if self.is_away:
            raise OSError("away")
        return [KeptToken("0123456789ab", "ci", 7, access_token.make_hash(TOKEN), self.state, DAY, DAY)]


def test_a_token_is_known_and_wrong_ones_cost_no_query() -> None:
    table = TokenTable()
    known = KnownTokens(table.read, lambda: table.now)
    found = known.check(TOKEN)
    assert (found.state, found.name, found.user) == (TokenState.VALID, "ci", 7)
    for wrong in (TOKEN[:-1], TOKEN + "s", TOKEN.replace("s", "t"), "aft_", "", "aft_\n", TOKEN.upper(), "é"):
        assert known.check(wrong).state is TokenState.UNKNOWN
    assert table.asked == 1


def test_a_revoked_token_ends_after_some_seconds() -> None:
    table = TokenTable()
    known = KnownTokens(table.read, lambda: table.now)
    assert known.check(TOKEN).state is TokenState.VALID
    table.state, table.now = TokenState.REVOKED, KEPT_S
    assert known.check(TOKEN).state is TokenState.REVOKED


def test_in_an_outage_no_token_is_valid() -> None:
    table = TokenTable()
    known = KnownTokens(table.read, lambda: table.now)
    known.check(TOKEN)
    table.is_away, table.now = True, KEPT_S
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            known.check(TOKEN)
    assert table.asked == 2


def test_no_password_has_what_stands_in_place_of_its_hash() -> None:
    from airfleet_provider.compat.calls import users  # noqa: PLC0415 - only this test needs it

    assert not any(users.is_hash_of(access_token.NO_PASSWORD, one) for one in ("", "!", "x"))
