"""Why a user may or may not read and edit a Dag."""

from __future__ import annotations

import pytest

from airfleet.operations.access import decide, find_uses
from airfleet_provider.contract.access_plan import PresentAccess, PresentUser
from airfleet_provider.contract.access_rules import AccessRules, DagRight, RoleRules
from airfleet_provider.contract.access_store import ListRights
from airfleet_provider.contract.task_lists import ListedDag, ListEntry, TaskLists

PRESENT = PresentAccess(
    roles={"Viewer": frozenset({("can_read", "DAGs")}), "team-a": frozenset({("can_read", "XComs")})},
    rules=AccessRules({"team-a": RoleRules(("sales_*",), ("tag:a",))}),
)


@pytest.mark.parametrize(
    ("roles", "tags", "right", "granted", "why"),
    [
        (["Viewer", "team-a"], [], DagRight.READ, True, "the role Viewer holds for all Dags"),
        (["Viewer"], [], DagRight.EDIT, False, "no role of Viewer has a rule; the tags of the Dag are none"),
        (["team-a"], [], DagRight.READ, True, "access.roles.team-a.dags.read has 'sales_*', which fits"),
        (["team-a"], ["a"], DagRight.EDIT, True, "access.roles.team-a.dags.edit has 'tag:a', which fits"),
        (["team-a"], ["b"], DagRight.EDIT, False, "no pattern of team-a fits; the tags of the Dag are b"),
        (["team-c"], [], DagRight.EDIT, True, "`access_control` of the Dag grants it to the role team-c"),
        ([], [], DagRight.READ, False, "the user has no role"),
    ],
)
def test_an_answer_names_what_decides(
    roles: list[str], tags: list[str], right: DagRight, granted: bool, why: str
) -> None:
    user = PresentUser("ann", "ann@x", frozenset(roles))
    found = decide(user, PRESENT, "sales_daily", tags, right, {"can_edit": frozenset({"team-c"})})
    assert (found.is_granted, found.why) == (granted, why)


def test_a_deactivated_user_may_do_nothing() -> None:
    user = PresentUser("ann", "ann@x", frozenset({"Viewer"}), is_active=False)
    assert not decide(user, PRESENT, "sales_daily", [], DagRight.READ, {}).is_granted


def test_each_list_says_whether_the_tasks_of_a_dag_may_use_what_it_names() -> None:
    lists = TaskLists({"db": ListEntry(("tag:a",)), "hr": ListEntry(("hr_*",))}, {}, {"sales_*": ListEntry()})
    known = ListRights(lists, {"sales_eu": ListedDag("sales_eu", frozenset({"a"}))})
    assert [(one.name, one.is_granted, one.why) for one in find_uses(known, "sales_eu")] == [
        ("db", True, "access.tasks.connections.db has 'tag:a', which fits"),
        ("hr", False, "access.tasks.connections.hr does not name the Dag"),
        ("sales_*", True, "access.tasks.xcoms.sales_* fits the Dag itself, which uses its own XComs"),
    ]
    assert [one.is_granted for one in find_uses(known, "other")] == [False, False, False]
