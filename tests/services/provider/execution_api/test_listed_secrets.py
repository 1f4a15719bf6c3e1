"""A task of one team attacks what lists of fleet.yaml keep for another, through Airflow's own execution API."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_programs import run
from listed_site import CALLS

# What every task may do.
FREE = {"other connection", "other variable"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("listed_site", tmp_path_factory.mktemp("airflow"))


def test_a_task_of_another_team_gets_nothing_that_a_list_names(site: dict[str, Any]) -> None:
    answers = site["team_a_1"]
    assert {name for name, status in answers.items() if status != 403} == {*FREE, "own xcom"}
    assert answers["own xcom"] == 200
    assert (site["older"], site["gone"]) == (403, 403), "an older client, and a task instance that is gone"


def test_the_dags_of_a_list_get_what_it_names(site: dict[str, Any]) -> None:
    own = site["team_b_1"]
    odd = {"connection with a query", "variable by a path", "xcom of an unknown dag"}
    assert {name for name, status in own.items() if status == 403} == odd
    reads = {name for name, status in site["reader"].items() if name.startswith("xcom") and status == 200}
    assert reads == {"xcom", "xcom by index", "xcom by slice", "xcoms counted", "xcom of earlier runs"}
    assert (site["reader"]["xcom written"], site["reader"]["xcom deleted"]) == (403, 403)


def test_a_refusal_says_what_where_and_what_to_look_at_and_is_in_the_audit_log(site: dict[str, Any]) -> None:
    for said, words in zip(site["said"], ("the connection 'sales_db'", "the XComs of 'team_b_1'"), strict=True):
        message = said["detail"]["message"]
        for part in ("a task of the Dag team_a_1", words, "does not name the Dag", "airfleet access explain"):
            assert part in message
    refused = {
        one["action"] for one in site["rows"] if one["outcome"] == "refused" and one["actor"].startswith("team_a_1 run")
    }
    for name in ("connection", "variable", "variable written", "variable deleted", "xcom", "xcom written"):
        assert " ".join(CALLS[name]) in refused, name
