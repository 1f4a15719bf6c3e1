"""No secret is missed because a line is only looked at closely if it has one of some words."""

from __future__ import annotations

import pytest

from airfleet_provider.contract.redaction import MASK, Redaction

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "line",
    [
        *(f"{name}={SECRET}" for name in ("password", "PASSWORDS", "Passwd", "passPhrase", "SECRET", "tOken")),
        *(f"{name}: {SECRET}" for name in ("api_key", "ACCESS-KEY", "PrivateKey", "fernet_KEY", "encryptionkey")),
        f"Authorization: Bearer {SECRET}",
        f"postgres://reader:{SECRET}@db:5432/x",
        f"POSTGRES://reader:{SECRET}@db:5432/x",
        # Letters that a case-insensitive expression takes for `s` and `k`.
        f"\u017fecret={SECRET}",
        f"to\u212aen={SECRET}",
        f"api_\u212aey={SECRET}",
    ],
)
def test_a_secret_is_hidden_in_any_case(line: str) -> None:
    hidden = Redaction().hide(line)
    assert SECRET not in hidden
    assert MASK in hidden


@pytest.mark.parametrize("line", ["AKIAABCDEFGHIJKLMNOP", "ASIAABCDEFGHIJKLMNOP"])
def test_ids_of_keys_are_hidden(line: str) -> None:
    assert Redaction().hide(f"used {line} here") == f"used {MASK} here"


def test_a_line_without_a_secret_stays_as_it_is() -> None:
    line = '{"event":"loaded 4711 rows of sales_12 in 33 ms from db1","key":"value"}'
    assert Redaction().hide(line) == line
