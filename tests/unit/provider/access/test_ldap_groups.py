"""Which groups of a directory count for somebody, whatever the user types and whoever may make groups there."""

from __future__ import annotations

from typing import Any

import pytest
from ldap3.utils.conv import escape_filter_chars

from airfleet_provider.access.ldap_client import LdapSession
from airfleet_provider.contract.directory import Directory, DirectoryGroup, LdapSource

PEOPLE, GROUPS = "ou=people,dc=x", "ou=groups,dc=x"
BI = f"cn=bi,{GROUPS}"


class LetterByLetter:
    """A directory with one user and one group, which compares the members letter by letter."""

    def __init__(self) -> None:
        self.response: list[dict[str, Any]] = []

    def search(self, base: str, wanted: str, *_: object, **__: object) -> None:
        found: dict[str, Any] = {"type": "searchResEntry", "dn": f"uid=Ann,{PEOPLE}", "raw_attributes": {}}
        if base == PEOPLE:
            self.response = [{**found, "attributes": {"uid": ["Ann"]}}]
        elif wanted == "(memberUid=Ann)":
            self.response = [{**found, "dn": BI, "attributes": {"cn": ["bi"]}}]
        else:
            self.response = []


@pytest.mark.parametrize("typed", ["Ann", "ann", "ANN"])
def test_members_by_name_are_found_in_whatever_case_the_name_is_typed(typed: str) -> None:
    """The next confirmation asks for the name in lower case, and would end the user."""
    source = LdapSource(("ldaps://x",), "cn=a,dc=x", PEOPLE, GROUPS, member="memberUid")
    found = LdapSession(source, LetterByLetter()).find(typed)
    assert found is not None
    assert (found[1].name, found[1].groups) == ("ann", (DirectoryGroup("bi", BI),))


def test_a_group_that_is_named_by_the_dn_of_another_gives_nothing() -> None:
    """Whoever keeps the groups of one team may name one as they like."""
    source = LdapSource(("ldaps://x",), "cn=a,dc=x", PEOPLE, GROUPS)
    directory = Directory(source, {BI: ("Admin",)})
    forged = DirectoryGroup(BI, f"cn={escape_filter_chars(BI)},ou=team-a,{GROUPS}")
    assert directory.find_roles([forged]) == frozenset()
    assert directory.find_roles([DirectoryGroup("bi", BI)]) == {"Admin"}
    assert directory.find_roles([DirectoryGroup(BI)]) == {"Admin"}, "a claim of an OpenID provider has no DN"
