"""Airflow's own api-server with users of a real directory: who gets in, with which roles, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_programs import run
from slapd_node import MISSING, PROGRAM

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("airflow")
    return run("directory_site", folder, str(folder))


def find_changes(site: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["action"], one["detail"]["what"]) for one in site["audit"] if one.get("actor") == "directory"]


def test_a_user_of_the_directory_logs_in_and_gets_roles(site: dict[str, Any]) -> None:
    assert site["ann by 'of ann'"] == 201
    assert site["ann by 'of dave'"] == 401
    assert site["ann asks"] == [200, 200]
    assert site["ann in a browser asks"] == 200
    assert ("access add user ann", "roles Op, Viewer") in find_changes(site)


def test_somebody_without_a_group_does_not_log_in(site: dict[str, Any]) -> None:
    assert site["carol by 'of carol'"] == 401
    assert "carol" not in site["users"]


def test_the_directory_does_not_decide_about_local_users(site: dict[str, Any]) -> None:
    """Whoever makes a user `admin` in the directory is not the administrator here."""
    assert [site["admin by 'local'"], site["bob by 'local'"]] == [201, 201]
    assert [site["admin by 'of admin'"], site["bob by 'of bob'"], site["zoe by 'of zoe'"]] == [401, 401, 401]


def test_a_local_password_of_a_user_of_the_directory_does_not_count(site: dict[str, Any]) -> None:
    assert site["ann by a password that was set here"] == 401


def test_who_leaves_the_directory_loses_all_sessions(site: dict[str, Any]) -> None:
    assert site["asked again"] == [2, 0]  # the second turn has nobody to ask for
    assert site["ann, who left, asks"] == 403
    assert site["ann, who left, in a browser asks"] == 403
    assert not site["ann, who left, gets a new token in a browser"]
    active, _, roles = site["users"]["ann"]
    assert (active, roles) == (False, [])
    assert ("access deactivate user ann", "the directory does not know the user any more") in find_changes(site)


def test_who_leaves_a_group_loses_its_roles(site: dict[str, Any]) -> None:
    assert ("access change user dave", "roles Viewer (were Op, Viewer)") in find_changes(site)
    assert site["dave, who left a group, asks"] == 200


def test_another_person_does_not_inherit_a_name(site: dict[str, Any]) -> None:
    assert site["another ann"] == 401


def test_the_administrator_logs_in_while_the_directory_is_down(site: dict[str, Any]) -> None:
    assert site["while it is down"] == {"admin": 201, "dave": 503, "dave's session": 200}
    assert site["down for long, dave's session"] == 403
    assert site["dave after it"] == [201, 200]


def test_a_login_says_that_the_directory_is_down_and_does_not_count_as_a_guess(site: dict[str, Any]) -> None:
    status, text = site["the form while it is down"]
    assert status == 503
    assert text == "The directory does not answer, so nobody of it can log in now. Users of fleet.yaml can."
    tries = [one for one in site["audit"] if one.get("actor") == "dave" and one.get("status") == 503]
    assert {one["outcome"] for one in tries} == {"failed"}, "a refused try would lock dave out"


def test_a_directory_that_hangs_holds_few_logins_and_the_others_are_refused_at_once(site: dict[str, Any]) -> None:
    hung = site["while it hangs"]
    ((status, text),) = hung["refused"]
    assert status == 503
    assert "Too many logins wait" in text
    assert [hung["admin"], hung["dave's session"]] == [201, 200]
    ((status, text),) = hung["held"]
    assert status == 503
    assert "does not answer" in text


def test_guesses_are_limited(site: dict[str, Any]) -> None:
    assert set(site["guesses"]) == {401, 429}
    assert site["guesses"][-1] == 429


def test_without_access_in_fleet_yaml_users_of_the_directory_end_and_local_ones_stay(site: dict[str, Any]) -> None:
    """Nobody would confirm them any more."""
    assert site["without access, dave's session"] == 403
    assert site["without access, admin"] == 201
    active, _, roles = site["users"]["dave"]
    assert (active, roles) == (False, [])
    assert [site["users"][name][0] for name in ("admin", "bob")] == [True, True]
    rows = [one for one in site["audit"] if one["action"] == "access deactivate user dave"]
    assert [one["actor"] for one in rows] == ["fleet.yaml"], "a second run changes nothing"
