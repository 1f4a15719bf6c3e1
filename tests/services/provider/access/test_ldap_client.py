"""Logins by a directory, against OpenLDAP's own server: who is found, and what is reported if something is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airfleet_provider.access.directory_errors import DirectoryError
from airfleet_provider.access.ldap_client import LdapClient
from airfleet_provider.contract.directory import LdapSource
from slapd_node import GROUPS, PEOPLE, SERVICE_PASSWORD, SlapdNode


@pytest.mark.parametrize("way", ["ldaps", "starttls"])
def test_a_user_is_found_with_groups_and_password(directory: SlapdNode, source: LdapSource, way: str) -> None:
    client = LdapClient(replace(source, urls=(getattr(directory, way),)))
    with client.open() as session:
        found = session.find("ANN")
    assert found
    dn, user = found
    assert (user.name, user.email, user.first_name, user.last_name) == ("ann", "ann@example.com", "Ann", "Person")
    assert {one.name for one in user.groups} == {"analysts", "operators"}
    assert f"cn=analysts,{GROUPS}" in {one.dn for one in user.groups}
    assert len(user.subject) == 36  # entryUUID
    assert client.check_password(dn, "of ann")
    assert not client.check_password(dn, "of bob")


@pytest.mark.parametrize("password", ["", "\0", "of ann\0"])
def test_an_empty_password_is_no_password(source: LdapSource, password: str) -> None:
    """A server may take a DN without a password for somebody who does not say who it is, and answer with success."""
    assert not LdapClient(source).check_password(f"uid=ann,{PEOPLE}", password)


@pytest.mark.parametrize("name", ["*", "a*", "ann)(uid=*", "nobody", "", "ann\0", "an\\6e"])
def test_no_text_but_the_name_finds_a_user(source: LdapSource, name: str) -> None:
    with LdapClient(source).open() as session:
        assert session.find(name) is None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bind_password": "wrong"}, "wrong DN or password"),
        ({"bind_dn": f"cn=nobody,{PEOPLE}"}, "wrong DN or password"),
        ({"bind_dn": "no dn"}, "is no DN"),
        ({"user_base": "ou=nowhere,dc=example,dc=com"}, "there is no entry ou=nowhere"),
        ({"user_filter": "((uid=*)"}, "does not understand"),
        ({"authority": ""}, "no trusted authority"),
        ({"urls": ("ldaps://localhost:1",)}, "nothing listens there"),
        ({"urls": ("ldaps://no-such-host.invalid",)}, "has no address"),
    ],
)
def test_what_is_wrong_is_told(source: LdapSource, change: dict[str, Any], what: str) -> None:
    with pytest.raises(DirectoryError, match=what) as raised, LdapClient(replace(source, **change)).open() as session:
        session.find("ann")
    assert raised.value.hint
    assert SERVICE_PASSWORD not in f"{raised.value.what} {raised.value.hint}"


@pytest.mark.parametrize("way", ["ldaps", "starttls"])
def test_a_certificate_for_another_name_is_refused(directory: SlapdNode, source: LdapSource, way: str) -> None:
    url = getattr(directory, way).replace("localhost", "127.0.0.2")
    with pytest.raises(DirectoryError, match="for another name"), LdapClient(replace(source, urls=(url,))).open():
        pass


def test_the_next_server_is_asked_if_the_first_is_down(directory: SlapdNode, source: LdapSource) -> None:
    client = LdapClient(replace(source, urls=("ldaps://localhost:1", directory.ldaps)))
    with client.open() as session:
        assert session.find("bob")


def test_two_users_with_one_name_are_none(directory: SlapdNode, source: LdapSource) -> None:
    by_class = replace(source, name_attribute="sn")
    with LdapClient(by_class).open() as session, pytest.raises(DirectoryError, match="2 entries"):
        session.find("person")
