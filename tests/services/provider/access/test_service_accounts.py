"""Service accounts at Airflow's own API: their rights, their end, and what somebody who has no token tries."""

from __future__ import annotations

from typing import Any

import pytest

from airfleet_provider.audit.login_limits import ADDRESS_AT_MOST
from airflow_programs import run
from token_site import GUESSES


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("token_site", tmp_path_factory.mktemp("airflow"))


def test_a_service_account_may_what_its_roles_may(site: dict[str, Any]) -> None:
    assert site["viewer reads"] == [200, 200, 200]
    assert (site["viewer changes"], site["op changes"], site["op reads users"]) == (403, 201, 403)


def test_a_token_is_the_only_way_in_and_makes_no_other_one(site: dict[str, Any]) -> None:
    """Airflow's UI makes a token of a day for whoever is logged in. It would outlast the one it was made with."""
    assert site["token of airflow's"][1] == 403
    assert site["the same as a cookie"] == 403
    assert site["logins"] == [401, 401, 401]


def test_the_database_does_not_have_the_token_and_what_it_has_opens_nothing(site: dict[str, Any]) -> None:
    assert site["kept"] == [False, False]
    assert all(status in (401, 403) for status in site["wrong"])


def test_wrong_tokens_meet_the_limits_on_logins_and_right_ones_do_not(site: dict[str, Any]) -> None:
    assert len(site["guesses"]) == GUESSES > ADDRESS_AT_MOST
    assert set(site["guesses"]) <= {401, 429}
    assert site["guesses"][-1] == 429
    assert site["while guessed"] == 200


def test_after_its_end_a_token_is_refused_and_the_next_one_has_only_its_own_roles(site: dict[str, Any]) -> None:
    assert site["old and new"] == [401, 200, 403]
    assert site["used"] == [True, True, True, False], "ci's two tokens and reader's, and not one that had ended"


def test_the_token_of_an_account_that_somebody_deleted_in_the_ui_is_revoked(site: dict[str, Any]) -> None:
    assert site["gone"] == ["revoked"]


def test_what_must_not_be_made_is_refused_and_fleet_yaml_ends_no_service_account(site: dict[str, Any]) -> None:
    expected = ("has a token already", "is a user", "there is no role Nobody; known: Admin", "has no token")
    for said, words in zip(site["refused"], expected, strict=True):
        assert words in said
    assert site["pruned"] == []


def test_each_change_has_the_name_of_the_account_and_reads_have_one_row_an_hour(site: dict[str, Any]) -> None:
    rows = [(one.get("actor", ""), one["action"].partition(" the token")[0], one["outcome"]) for one in site["rows"]]
    assert rows.count(("reader", "use of", "done")) == 1
    for row in (
        ("ci", "POST /api/v2/pools", "done"),
        ("reader", "POST /api/v2/pools", "refused"),
        ("ci", "use of", "refused"),
        ("a wrong token", "GET /api/v2/pools", "refused"),
        ("airfleet access tokens", "create token ci", "done"),
        ("airfleet access tokens", "revoke token ci", "done"),
    ):
        assert row in rows, row
