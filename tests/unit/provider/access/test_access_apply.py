"""How users, roles and rules of fleet.yaml are applied: killed in the middle, two at once, and addresses that move."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from airfleet_provider.access import apply as access_apply
from airfleet_provider.compat.calls import users
from airfleet_provider.contract import access_roles, access_store, audit_store
from airfleet_provider.contract.access_plan import DesiredAccess, DesiredUser, PresentAccess, PresentUser
from airfleet_provider.contract.access_roles import Permission
from airfleet_provider.contract.access_rules import AccessRules, RoleRules
from airfleet_provider.contract.task_lists import TaskLists

RULES = AccessRules({"team-a": RoleRules(("a_*",))})
OTHER_RULES = AccessRules({"team-a": RoleRules(("a_*", "b_*"))})
ANN = DesiredUser("ann", "ann@x", frozenset({"team-a"}), password="first word")
BOB = DesiredUser("bob", "bob@x", frozenset({"team-a"}))


class KilledError(BaseException):
    """The process dies here."""


class FakeAirflow:
    """Users and roles in memory. A block that fails changes nothing, and no two users have one address."""

    def __init__(self) -> None:
        self.users: dict[str, PresentUser] = {"admin": PresentUser("admin", "admin@x", frozenset({"Admin"}))}
        self.passwords: dict[str, str] = {}
        self.roles: dict[str, frozenset[Permission]] = {}
        self.rules, self.lists, self.noted = AccessRules(), TaskLists(), dict[str, str]()
        self.ended: list[str] = []
        self.after_first: Callable[[], None] = lambda: None

    def prepare(self, _: Iterable[Permission]) -> None: ...

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        before = (dict(self.users), dict(self.passwords), dict(self.roles), self.rules, self.lists, dict(self.noted))
        try:
            yield
        except BaseException:
            self.users, self.passwords, self.roles, self.rules, self.lists, self.noted = before
            raise

    def query(self, *_: object) -> list[Any]:
        raise AssertionError("the statements are replaced")

    def execute(self, _: str, values: Mapping[str, Any]) -> None: ...

    def write_role(self, name: str, permissions: Iterable[Permission]) -> None:
        self.roles[name] = frozenset(permissions)

    def free_address(self, name: str) -> None:
        self._write(replace(self.users[name], email=f"moved-{name}"))

    def write_user(self, user: DesiredUser) -> None:
        self._write(PresentUser(user.name, user.email, user.roles))

    def _write(self, user: PresentUser) -> None:
        assert user.email not in {one.email for one in self.users.values() if one.name != user.name}, user
        self.users[user.name] = user

    def has_password(self, name: str, password: str) -> bool:
        return self.passwords.get(name) == f"hash of {password}"

    def write_password(self, name: str, hashed: str) -> None:
        self.passwords[name] = hashed

    def end_sessions(self, name: str) -> None:
        self.after_first()
        self.ended.append(name)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> FakeAirflow:
    made = FakeAirflow()
    own = {name: frozenset({("can_read", "DAGs")}) for name in access_roles.AIRFLOW_ROLES}

    def write(_: object, rules: AccessRules, lists: TaskLists, passwords: Mapping[str, str]) -> None:
        made.rules, made.lists, made.noted = rules, lists, dict(passwords)

    monkeypatch.setattr(users, "make_hash", lambda password: f"hash of {password}")
    monkeypatch.setattr(users, "is_hash_of", lambda known, password: known == f"hash of {password}")
    monkeypatch.setattr(
        access_store,
        "read_present",
        lambda _: PresentAccess(dict(made.users), {**own, **made.roles}, made.rules, made.lists),
    )
    monkeypatch.setattr(access_store, "read_passwords", lambda _: dict(made.noted))
    monkeypatch.setattr(access_store, "read_both", lambda _: (made.rules, made.lists))
    monkeypatch.setattr(access_store, "write", write)
    monkeypatch.setattr(audit_store, "record", lambda *_: None)
    return made


def run(airflow: FakeAirflow, *people: DesiredUser, rules: AccessRules = RULES) -> list[str]:
    plan = access_apply.apply(airflow, DesiredAccess(people, rules))  # type: ignore[arg-type]
    return [str(one) for one in plan.changes]


def test_a_second_call_changes_nothing_and_ends_no_session(airflow: FakeAirflow) -> None:
    assert run(airflow, ANN)
    airflow.ended.clear()
    assert run(airflow, ANN) == []
    assert (airflow.ended, airflow.passwords) == ([], {"ann": "hash of first word"})


def test_sessions_that_a_killed_process_did_not_end_are_ended_by_the_next(airflow: FakeAirflow) -> None:
    """It died with the new password set: somebody who was logged in with the former one must not stay."""

    def die() -> None:
        raise KilledError

    airflow.after_first = die
    with pytest.raises(KilledError):
        run(airflow, ANN)
    assert (airflow.passwords, airflow.ended) == ({"ann": "hash of first word"}, [])
    airflow.after_first = lambda: None
    run(airflow, ANN)
    assert airflow.ended == ["ann"]
    run(airflow, ANN)
    assert airflow.ended == ["ann"]


def test_the_end_of_one_apply_takes_nothing_back_of_another_that_came_in_between(airflow: FakeAirflow) -> None:
    def other() -> None:
        airflow.after_first = lambda: None
        run(airflow, DesiredUser("ann", "ann@x", frozenset(), password="second word"), rules=OTHER_RULES)

    airflow.after_first = other
    run(airflow, ANN)
    assert airflow.rules == OTHER_RULES
    assert (airflow.passwords, airflow.noted) == ({"ann": "hash of second word"}, {"ann": "hash of second word"})


def test_an_address_goes_from_one_user_to_another_in_one_step(airflow: FakeAirflow) -> None:
    run(airflow, ANN, BOB)
    moved = (DesiredUser("ann", "bob@x", ANN.roles), DesiredUser("bob", "ann@x", BOB.roles))
    assert run(airflow, *moved) == [
        "change user ann: e-mail bob@x (was ann@x)",
        "change user bob: e-mail ann@x (was bob@x)",
    ]
    assert {name: one.email for name, one in airflow.users.items()} == {
        "admin": "admin@x",
        "ann": "bob@x",
        "bob": "ann@x",
    }


def test_somebody_of_a_directory_with_the_address_of_a_new_user_stops_nothing(airflow: FakeAirflow) -> None:
    """Some directories let people write their own address."""
    airflow.users["eve"] = PresentUser("eve", "ANN@x", frozenset({"team-a"}), source="ldap ou=people")
    access_apply.apply(airflow, DesiredAccess((ANN,), RULES, source="ldap ou=people"))  # type: ignore[arg-type]
    assert airflow.users["ann"].email == "ann@x"
    assert (airflow.users["eve"].email, airflow.users["eve"].roles) == ("moved-eve", frozenset({"team-a"}))
