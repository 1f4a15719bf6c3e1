"""What changes so that users and roles are as fleet.yaml says, and what a rule grants."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airfleet_provider.contract import access_roles
from airfleet_provider.contract.access_plan import (
    AccessError,
    AccessKind,
    DesiredAccess,
    DesiredUser,
    PresentAccess,
    PresentUser,
    make_plan,
)
from airfleet_provider.contract.access_rules import AccessRules, DagRight, RoleRules
from airfleet_provider.contract.task_lists import ListEntry, TaskLists

RULES = AccessRules({"team-a": RoleRules(("tag:a", "sales_*"), ("tag:a",)), "team-b": RoleRules(("tag:b",))})
ANN = DesiredUser("ann", "ann@x", frozenset({"team-a"}))
ADMIN = PresentUser("admin", "admin@localhost", frozenset({"Admin"}))
ROLES = {
    **{name: frozenset({("can_read", "DAGs")}) for name in access_roles.AIRFLOW_ROLES},
    "team-a": access_roles.find_permissions(edits=True),
    "team-b": access_roles.find_permissions(edits=False),
}
DONE = PresentAccess({"admin": ADMIN, "ann": PresentUser("ann", "ann@x", frozenset({"team-a"}))}, ROLES, RULES)

WANTED = DesiredAccess((ANN,), RULES)


def say(desired: DesiredAccess, present: PresentAccess) -> list[str]:
    return [str(one) for one in make_plan(desired, present).changes]


@pytest.mark.parametrize(
    ("roles", "dag", "tags", "right", "grants"),
    [
        (["team-a"], "x", {"a"}, DagRight.EDIT, "tag:a"),
        (["team-a"], "sales_eu", set(), DagRight.READ, "sales_*"),
        (["team-a"], "sales_eu", set(), DagRight.EDIT, None),
        (["team-a"], "x", {"A", "ab", "tag:a"}, DagRight.READ, None),
        (["team-b"], "x", {"b"}, DagRight.READ, "tag:b"),
        (["team-b"], "x", {"b"}, DagRight.EDIT, None),
        (["Team-A", "Viewer"], "x", {"a"}, DagRight.READ, None),
        ([], "x", {"a"}, DagRight.READ, None),
        (["team-b", "team-a"], "x", {"a"}, DagRight.EDIT, "tag:a"),
    ],
)
def test_what_a_rule_grants(roles: list[str], dag: str, tags: set[str], right: DagRight, grants: str | None) -> None:
    found = RULES.find(roles, dag, tags, right)
    assert (found and found.pattern) == grants


def test_nothing_is_left_to_do_when_all_is_as_it_should_be() -> None:
    plan = make_plan(DesiredAccess((ANN,), RULES, prune=True), DONE)
    assert (plan.changes, plan.unknown_users, plan.unknown_roles) == ((), (), ())


def test_an_empty_airflow_gets_roles_before_the_users_who_have_them() -> None:
    first = make_plan(DesiredAccess((ANN,), RULES), PresentAccess({"admin": ADMIN}, {}))
    assert [f"{one.kind} {one.name}" for one in first.changes] == ["add role team-a", "add role team-b", "add user ann"]


def test_a_role_that_somebody_widened_in_the_ui_is_put_right() -> None:
    wide = {**ROLES, "team-b": ROLES["team-b"] | {("can_read", "Connections")}}
    assert say(DesiredAccess((ANN,), RULES), replace(DONE, roles=wide)) == [
        "change role team-b: loses can_read on Connections"
    ]


def test_what_fleet_yaml_does_not_name_is_reported_and_goes_with_prune_alone() -> None:
    users = {**DONE.users, "eve": PresentUser("eve", "eve@x", frozenset({"Op"}))}
    present = replace(DONE, users=users, roles={**ROLES, "former": frozenset()})
    plan = make_plan(DesiredAccess((ANN,), RULES), present)
    assert (plan.changes, plan.unknown_users, plan.unknown_roles) == ((), ("eve",), ("former",))
    assert say(DesiredAccess((ANN,), RULES, prune=True), present) == [
        "deactivate user eve: fleet.yaml does not name it",
        "remove role former: fleet.yaml does not name it",
    ]


def test_airflows_roles_and_the_administrator_of_airfleet_are_never_touched() -> None:
    present = replace(DONE, users={"admin": ADMIN})
    assert say(DesiredAccess((), AccessRules(), prune=True), replace(present, roles=dict(ROLES))) == [
        "remove role team-a: fleet.yaml does not name it",
        "remove role team-b: fleet.yaml does not name it",
    ]


def test_the_last_administrator_keeps_the_role() -> None:
    boss = PresentUser("boss", "boss@x", frozenset({"Admin"}))
    out = {"admin": replace(ADMIN, is_active=False), "boss": boss}
    demoted = DesiredUser("boss", "boss@x", frozenset({"Viewer"}))
    for desired in (DesiredAccess((demoted,)), DesiredAccess((), prune=True)):
        with pytest.raises(AccessError, match="no active local user with the role Admin"):
            make_plan(desired, PresentAccess(out, ROLES))
    heir = DesiredUser("heir", "heir@x", frozenset({"Admin"}))
    assert say(DesiredAccess((demoted, heir)), PresentAccess(out, ROLES))


def test_nobody_takes_the_address_of_somebody_else_who_logs_in_with_it() -> None:
    thief = DesiredUser("eve", "ADMIN@localhost", frozenset())
    with pytest.raises(AccessError, match="that of the user admin"):
        make_plan(DesiredAccess((thief,)), DONE)


def test_a_name_that_somebody_made_in_the_ui_sends_nothing_to_the_terminal() -> None:
    users = {**DONE.users, "a\x1b[2J\n": PresentUser("a\x1b[2J\n", "a@x", frozenset({"Op"}))}
    said = say(DesiredAccess((ANN,), RULES, prune=True), replace(DONE, users=users))
    assert said == ["deactivate user a\\x1b[2J\\n: fleet.yaml does not name it"]


def test_a_user_who_was_deactivated_is_active_again() -> None:
    users = {**DONE.users, "ann": PresentUser("ann", "ann@x", frozenset(), is_active=False)}
    assert say(DesiredAccess((ANN,), RULES), replace(DONE, users=users)) == [
        "change user ann: is active again; roles team-a (were none)"
    ]


def test_a_role_may_do_nothing_that_airflow_does_not_tell_apart_by_dags() -> None:
    held = access_roles.READING | access_roles.EDITING
    closed = {"DAGs", "Assets", "Connections", "Variables", "ImportError", "Jobs", "Cluster Activity", "Audit Logs"}
    assert not {one for one in held if one[1] in closed and one[0] != "menu_access"}
    assert not {one for one in held if one[1].startswith(access_roles.OF_ONE_DAG)}


def test_a_list_that_changes_is_a_change_of_its_own() -> None:
    lists = TaskLists(connections={"db": ListEntry(("a_*",))})
    desired = DesiredAccess((ANN,), RULES, lists=lists)
    assert say(desired, DONE) == ["change list connections db: a_*"]
    assert say(desired, replace(DONE, lists=lists)) == []
    assert say(DesiredAccess((ANN,), RULES), replace(DONE, lists=lists)) == [
        "change list connections db: no list (was a_*)"
    ]
    assert DesiredAccess.from_text(desired.to_text()) == desired


def test_users_of_a_directory_are_neither_named_nor_unknown() -> None:
    users = {**DONE.users, "dora": PresentUser("dora", "dora@x", frozenset({"Viewer"}), source="ldap ou=people")}
    present = replace(DONE, users=users)
    for prune in (False, True):
        plan = make_plan(replace(WANTED, source="ldap ou=people", prune=prune), present)
        assert "dora" not in plan.unknown_users
        assert not [one for one in plan.changes if one.name == "dora"]
    for source in ("", "oidc https://other"):
        (change,) = make_plan(replace(WANTED, source=source), present).changes
        assert (change.kind, change.name) == (AccessKind.END_USER, "dora")


def test_the_last_administrator_is_a_local_user() -> None:
    """While the directory is down, somebody must be able to log in."""
    boss = PresentUser("boss", "boss@x", frozenset({"Admin"}), source="ldap ou=people")
    users = {"admin": replace(ADMIN, is_active=False), "boss": boss}
    with pytest.raises(AccessError, match="no active local user"):
        make_plan(DesiredAccess(source="ldap ou=people"), PresentAccess(users))


def test_a_user_of_the_directory_whom_fleet_yaml_names_becomes_a_local_one() -> None:
    ann = replace(DONE.users["ann"], source="ldap ou=people")
    present = replace(DONE, users={**DONE.users, "ann": ann})
    (change,) = make_plan(replace(WANTED, source="ldap ou=people"), present).changes
    assert change.what == "is a local user now, and not one of the directory"
