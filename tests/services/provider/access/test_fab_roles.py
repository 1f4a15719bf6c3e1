"""FAB's roles in a new database: airfleet makes them in one transaction, and they are those that FAB would make."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_programs import run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("roles_site", tmp_path_factory.mktemp("airflow"))


def test_they_are_those_that_fab_makes_alone(site: dict[str, Any]) -> None:
    assert {role for role, _, _ in site["alone"][0]} == {"Admin", "Op", "User", "Viewer"}
    assert site["compared"] == site["alone"]


def test_most_of_them_are_there_before_fab_compares_them(site: dict[str, Any]) -> None:
    made, wanted = ({tuple(one) for one in site[when][0]} for when in ("at once", "alone"))
    assert made < wanted, "nobody is granted what FAB does not grant"
    assert len(made) > 0.8 * len(wanted), "else a start takes seconds again"


def test_a_database_that_has_a_role_is_left_as_it_is(site: dict[str, Any]) -> None:
    assert site["with a role"] == [[], [["Viewer"]]]


def test_a_security_manager_with_other_roles_grants_no_more_than_it_says(site: dict[str, Any]) -> None:
    assert [one for one in site["strict"] if one[0] == "Viewer"] == [["Viewer", "can_read", "Website"]]
