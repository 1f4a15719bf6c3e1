"""What Active Directory says of an account: whether it may be used, and its primary group."""

from __future__ import annotations

import pytest

from airfleet_provider.access import ad_account

NOW = 1_000_000.0
# The same moment in steps of 100 ns since 1601.
STEPS = (1_000_000 + 11_644_473_600) * 10**7


@pytest.mark.parametrize("expires", [None, b"0", b"9223372036854775807", b"%d" % (STEPS + 10**7), b"never", b""])
def test_an_account_without_a_past_date_has_not_expired(expires: bytes | None) -> None:
    values = {} if expires is None else {"accountExpires": [expires]}
    assert ad_account.find_obstacle(values, NOW) is None


@pytest.mark.parametrize(
    ("name", "value", "what", "ends"),
    [
        ("accountExpires", STEPS, "has expired", True),
        ("accountExpires", 1, "has expired", True),
        ("userAccountControl", 512 | 2, "is disabled", True),
        # 32 bits with a sign: an account with the highest bit set is a negative number.
        ("userAccountControl", -(2**31) | 2, "is disabled", True),
        ("msDS-User-Account-Control-Computed", 0x10, "is locked", False),
        ("msDS-User-Account-Control-Computed", 0x800000, "must be changed", False),
    ],
)
def test_what_keeps_an_account_from_being_used_is_found(name: str, value: int, what: str, ends: bool) -> None:
    found = ad_account.find_obstacle({"userAccountControl": [b"512"], name: [b"%d" % value]}, NOW)
    assert found
    assert what in found.what
    assert found.hint
    assert found.ends == ends


def test_an_ordinary_account_of_any_directory_has_no_obstacle() -> None:
    assert ad_account.find_obstacle({}, NOW) is None
    assert ad_account.find_obstacle({"userAccountControl": [b"66048"]}, NOW) is None


def test_the_primary_group_has_the_domain_of_the_account_and_a_number_of_its_own() -> None:
    domain = bytes.fromhex("010500000000000515000000") + bytes(range(12))
    values = {"objectSid": [domain + (1104).to_bytes(4, "little")], "primaryGroupID": [b"513"]}
    assert ad_account.find_primary_group(values) == domain + (513).to_bytes(4, "little")


@pytest.mark.parametrize(
    "values", [{}, {"primaryGroupID": [b"513"]}, {"objectSid": [b"\x01"], "primaryGroupID": [b"1"]}]
)
def test_others_have_no_primary_group(values: dict[str, list[bytes]]) -> None:
    assert ad_account.find_primary_group(values) is None


@pytest.mark.parametrize("number", ["-1", "4294967296", "99999999999999999999"])
def test_a_number_that_no_group_has_finds_none(number: str) -> None:
    values = {"objectSid": [bytes(28)], "primaryGroupID": [number.encode()]}
    assert ad_account.find_primary_group(values) is None


@pytest.mark.parametrize(
    ("data", "why"), [("775", "locked"), ("701", "expired"), ("773", "changed"), ("533", "disabled"), ("52e", None)]
)
def test_a_refusal_for_another_reason_than_a_wrong_password_is_explained(data: str, why: str | None) -> None:
    said = ad_account.explain_refusal(
        f"80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {data}, v1db1"
    )
    assert said is None if why is None else why in str(said)
