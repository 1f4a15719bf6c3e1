"""Airflow's own api-server with users of a certified OpenID provider: who gets in, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_programs import run
from oidc_node import MISSING, NODE

pytestmark = pytest.mark.skipif(NODE is None, reason=MISSING)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The provider's claims are at its userinfo endpoint, as those of most providers are."""
    folder = tmp_path_factory.mktemp("airflow")
    return run("oidc_site", folder, str(folder), "lean")


def test_the_page_has_the_way_to_the_provider_and_the_form(site: dict[str, Any]) -> None:
    assert site["page"] == [True, True, True]
    assert site["back"] == "http://testserver/auth/oauth-authorized/oidc"


def test_words_in_the_address_of_the_page_change_nothing(site: dict[str, Any]) -> None:
    assert site["a link of somebody else"] == 200


def test_a_user_of_the_provider_logs_in(site: dict[str, Any]) -> None:
    assert site["ann asks"] == [200, 200]
    changes = [(one["action"], one["detail"]["what"]) for one in site["audit"] if one.get("actor") == "directory"]
    assert changes == [("access add user ann", "roles Viewer")]


def test_nobody_gets_in_as_somebody_else(site: dict[str, Any]) -> None:
    """Whoever may choose the own name at the provider is not Ann, and not the administrator."""
    for name in ("another ann", "carol, of no group", "admin of the provider", "another browser with ann's code"):
        assert site[f"{name} asks"] == 401, name


def test_a_session_ends_without_the_provider(site: dict[str, Any]) -> None:
    assert site["ann asks before the hour"] == 200
    assert site["ann asks after an hour"] == 403
    assert not site["ann has a new token without the provider"]
    assert site["ann asks after another login"] == 200


def test_the_administrator_logs_in_while_the_provider_is_down(site: dict[str, Any]) -> None:
    assert site["login while it is down"] == 302
    assert site["admin while it is down asks"] == 200


def test_no_token_of_the_provider_is_kept(site: dict[str, Any]) -> None:
    assert site["tokens of the provider in the database"] == 0


def test_a_login_by_the_provider_is_in_the_audit_log(site: dict[str, Any]) -> None:
    logins = [one for one in site["audit"] if "oauth-authorized" in one["action"]]
    assert {one["outcome"] for one in logins if one.get("actor") == "ann"} == {"done"}
    assert any(one["outcome"] == "refused" for one in logins)


def test_logins_by_the_provider_that_fail_count_for_their_address(site: dict[str, Any]) -> None:
    assert site["returns in vain"] > 0
