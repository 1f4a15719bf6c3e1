"""Logins by Active Directory, against a domain controller, with the settings that the guide names for it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import domain_controller
from airfleet_provider.access.directory_check import check
from airfleet_provider.access.directory_errors import DirectoryError
from airfleet_provider.access.ldap_client import LdapClient
from airfleet_provider.contract.directory import Directory, LdapSource
from domain_controller import GROUPS, GUESSES, PEOPLE, REALM, DomainController, NoDomainError, find_obstacle

# Of user accounts in userAccountControl: an ordinary one, and one that is disabled too.
DISABLED = "514"
# Steps of 100 ns since 1601: a second after the beginning of 1970.
LONG_AGO = "116444736010000000"


@dataclass(frozen=True)
class Domain:
    """A domain controller with its users by name, each in the group `team-a`, which is in the group `analysts`."""

    controller: DomainController
    users: Mapping[str, str]

    @property
    def source(self) -> LdapSource:
        return self.controller.describe()


def make_password(name: str) -> str:
    return f"Of.{name}.12345"


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    if reason := find_obstacle():
        pytest.skip(reason)
    try:
        controller = DomainController(tmp_path_factory.mktemp("samba"))
    except NoDomainError as error:
        pytest.skip(f"Samba cannot make a domain here: {error}")
    try:
        users = {
            "ann": controller.add_user("ann", make_password("ann"), cn="Person\\, Ann"),
            "lou": controller.add_user("lou", make_password("lou")),
            "mia": controller.add_user("mia", make_password("mia"), pwdLastSet="0"),
            "eve": controller.add_user("eve", make_password("eve"), accountExpires=LONG_AGO),
            "dora": controller.add_user("dora", make_password("dora"), userAccountControl=DISABLED),
        }
        team = controller.add_group("team-a", *users.values())
        controller.add_group("analysts", team)
        found = Domain(controller, users)
        for _ in range(GUESSES):
            assert not LdapClient(found.source).check_password(users["lou"], "a guess")
        yield found
    finally:
        controller.stop()


def test_a_port_that_somebody_else_has_is_named_before_a_domain_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain_controller, "PROGRAM", "samba")
    monkeypatch.setattr(domain_controller, "SCHEMA", tmp_path)
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(domain_controller, "PORTS", (0, port))
        assert f"at port {port}, which is taken" in (find_obstacle() or "")
    monkeypatch.setattr(domain_controller, "PORTS", (0,))
    assert find_obstacle() is None


@pytest.mark.parametrize("way", ["ldaps", "starttls"])
@pytest.mark.parametrize(
    ("attribute", "typed", "name"),
    [("sAMAccountName", "ANN", "ann"), ("userPrincipalName", f"Ann@{REALM}", f"ann@{REALM.lower()}")],
)
def test_a_user_is_found_by_either_name_with_groups_in_groups_and_the_primary_group(
    domain: Domain, way: str, attribute: str, typed: str, name: str
) -> None:
    urls = (getattr(domain.controller, way),)
    client = LdapClient(replace(domain.source, urls=urls, name_attribute=attribute))
    with client.open() as session:
        found = session.find(typed)
    assert found
    dn, user = found
    assert (user.name, user.email, user.first_name, user.last_name) == (name, "ann@example.com", "Ann", "Person")
    assert {one.name for one in user.groups} == {"analysts", "team-a", "Domain Users"}
    assert len(user.subject) == 36  # objectGUID
    assert client.check_password(dn, make_password("ann"))
    assert not client.check_password(dn, make_password("bob"))
    assert not client.check_password(dn, "")


def test_without_the_matching_rule_groups_in_groups_do_not_count(domain: Domain) -> None:
    with LdapClient(replace(domain.source, member="member", group_base=GROUPS)).open() as session:
        found = session.find("ann")
    assert found
    assert [one.name for one in found[1].groups] == ["team-a"]


@pytest.mark.parametrize("name", ["eve", "dora"])
@pytest.mark.parametrize("user_filter", ["the guide's", "(objectClass=user)"])
def test_an_account_that_has_expired_or_is_disabled_is_nobody_s_so_its_sessions_end(
    domain: Domain, name: str, user_filter: str
) -> None:
    source = domain.source if user_filter == "the guide's" else replace(domain.source, user_filter=user_filter)
    with LdapClient(source).open() as session:
        assert session.find(name) is None
    assert not LdapClient(source).check_password(domain.users[name], make_password(name))


def test_an_account_expires_while_somebody_is_logged_in(domain: Domain) -> None:
    leaves_at = 2_000_000_000
    steps = (leaves_at + 11_644_473_600) * 10**7
    domain.controller.add_user("gus", make_password("gus"), accountExpires=str(steps))
    for now, is_there in ((leaves_at - 1.0, True), (leaves_at + 1.0, False)):
        with LdapClient(domain.source, lambda: now).open() as session:  # noqa: B023 - asked at once
            assert bool(session.find("gus")) == is_there


@pytest.mark.parametrize(
    ("name", "why"), [("lou", "locked after failed logins"), ("mia", "password must be changed first")]
)
def test_a_right_password_is_refused_and_the_log_says_why(
    domain: Domain, caplog: pytest.LogCaptureFixture, name: str, why: str
) -> None:
    caplog.set_level(logging.WARNING)
    assert not LdapClient(domain.source).check_password(domain.users[name], make_password(name))
    assert why in caplog.text
    assert make_password(name) not in caplog.text
    # Whoever guesses passwords ends no session of others.
    with LdapClient(domain.source).open() as session:
        assert session.find(name)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lou", "lou cannot log in now: the account is locked"),
        ("mia", "mia cannot log in now: the password of the account has expired or must be changed"),
        ("eve", "eve cannot log in: the account has expired"),
        ("dora", "dora cannot log in: the account is disabled"),
        ("DC1$", "no entry below"),  # the account of a computer
    ],
)
def test_the_self_test_says_why_somebody_cannot_log_in(domain: Domain, name: str, what: str) -> None:
    last = check(Directory(domain.source, {"analysts": ("Viewer",)}), name, "")[-1]
    assert not last.is_done
    assert last.what.startswith(what)
    assert last.hint


@pytest.mark.parametrize("group", ["analysts", f"CN=Team-A, {GROUPS}", "domain users"])
def test_the_self_test_names_roles_by_a_group_of_groups_a_dn_and_the_primary_group(domain: Domain, group: str) -> None:
    steps = check(Directory(domain.source, {group: ("Viewer",)}), "ann", "")
    assert all(one.is_done for one in steps)
    assert f"ann is CN=Person\\, Ann,{PEOPLE}" in [one.what for one in steps]
    assert steps[-1].what == "ann gets the roles Viewer"


def test_a_service_account_that_is_locked_is_told_from_a_wrong_password(domain: Domain) -> None:
    for dn, password, what in (
        (domain.users["lou"], make_password("lou"), "is refused: it is locked after failed logins"),
        (domain.source.bind_dn, "wrong", "wrong DN or password"),
    ):
        source = replace(domain.source, bind_dn=dn, bind_password=password)
        with pytest.raises(DirectoryError, match=what), LdapClient(source).open():
            pass
