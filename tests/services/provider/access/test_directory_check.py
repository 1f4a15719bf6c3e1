"""`airfleet access test`, against OpenLDAP's own server: what works, and in one line what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from airfleet_provider.access.directory_check import check
from airfleet_provider.contract.directory import CheckStep, Directory, LdapSource
from deadline import COMMAND_S
from slapd_node import GROUPS, PEOPLE, SlapdNode


def describe(source: LdapSource) -> Directory:
    return Directory(source, {f"cn=analysts,{GROUPS}": ("team-a", "Viewer")}, frozenset({"zoe"}))


def ask(directory: Directory, user: str) -> CheckStep:
    """Return the last step."""
    return check(directory, user, "")[-1]


def test_a_user_is_shown_with_groups_and_roles(directory: SlapdNode, source: LdapSource) -> None:
    steps = check(describe(source), "ann", "")
    assert all(one.is_done for one in steps)
    text = "\n".join(one.what for one in steps)
    assert directory.ldaps in text
    assert f"ann is uid=ann,{PEOPLE}" in text
    assert f"cn=analysts,{GROUPS}, cn=operators,{GROUPS}" in text
    assert text.endswith("ann gets the roles Viewer, team-a")


@pytest.mark.parametrize(
    ("user", "what"),
    [
        ("carol", "is in no group"),
        ("nobody", "no entry below"),
        ("zoe", "is a user of fleet.yaml"),
        ("admin", "is a user of fleet.yaml"),
        ("dora", "none of these groups gives a role"),
    ],
)
def test_why_somebody_cannot_log_in_is_told(directory: SlapdNode, source: LdapSource, user: str, what: str) -> None:
    if user in ("carol", "dora"):
        directory.add_user(user, "any")
    if user == "dora":
        directory.add_group("others", "dora")
    last = ask(describe(source), user)
    assert not last.is_done
    assert what in last.what
    assert last.hint


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bind_password": "wrong secret"}, "wrong DN or password"),
        ({"authority": ""}, "no trusted authority"),
        ({"user_filter": "(objectClass=device)"}, "no user is found"),
        ({"group_base": "ou=teams,dc=example,dc=com"}, "there is no entry ou=teams"),
        ({"member": "memberUid"}, "is in no group"),
    ],
)
def test_what_is_wrong_with_the_settings_is_told(source: LdapSource, change: dict[str, Any], what: str) -> None:
    steps = check(describe(replace(source, **change)), "ann", "")
    assert what in steps[-1].what
    assert steps[-1].hint
    assert not steps[-1].is_done
    assert "wrong secret" not in str(steps)


def test_each_server_is_tested(directory: SlapdNode, source: LdapSource) -> None:
    steps = check(describe(replace(source, urls=("ldaps://localhost:1", directory.ldaps))), "ann", "")
    assert [one.is_done for one in steps[:2]] == [False, True]
    assert steps[-1].what.startswith("ann gets the roles")


def test_the_program_takes_the_secret_from_its_input(source: LdapSource) -> None:
    question = {"directory": json.loads(describe(source).to_text()), "user": "bob", "callback": ""}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "airfleet_provider.access.directory_check"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[-1]["what"] == "bob gets the roles Viewer, team-a"
