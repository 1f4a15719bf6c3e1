"""The section `access` of fleet.yaml: what it means, and what its errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet.errors import SpecError
from airfleet.spec import load
from airfleet.spec.access import FleetAccess
from airfleet.workspace.project import resolve_directory
from airfleet_provider.contract.access_plan import DesiredAccess
from airfleet_provider.contract.directory import Directory, DirectoryGroup
from airfleet_provider.contract.task_lists import ListEntry

TEXT = """
access:
  users:
    ann: {email: ann@example.com, name: Ann Example, roles: [team-a], groups: [readers], password: {env: ANN}}
    bob: {email: bob@example.com, roles: [Op]}
  roles:
    team-a: {dags: {read: ["tag:team-a", "sales_*"], edit: ["tag:team-a"]}}
    all: {dags: {read: ["*"]}}
  groups:
    readers: {roles: [all, Viewer]}
  tasks:
    connections: {sales_db: {dags: ["tag:team-a", "file:dags/team_a/*"], triggers: true}}
    variables: {"sales_*": {}}
    xcoms: {"tag:team-a": {dags: [report]}}
"""


OIDC = "{issuer: 'https://login.example.com', client: airflow, secret: {env: S}}"
LDAP = (
    "{urls: ['ldaps://ldap.example.com'], bind: {dn: 'cn=airflow,dc=x', password: {env: S}},"
    " users: {base: 'ou=people,dc=x'}, groups: {base: 'ou=groups,dc=x'}}"
)
GIVEN = "  groups: {readers: {roles: [Viewer], directory: [readers, bi]}, operators: {roles: [Op], directory: [bi]}}"


def parse(text: str) -> FleetAccess:
    found = load.parse(text, file="fleet.yaml", default_name="flights", cpus=8).access
    assert found is not None
    return found


def test_a_user_has_the_roles_of_the_groups_too_and_all_survives_the_way_to_airflow() -> None:
    desired = parse(TEXT).resolve(lambda name, _: f"password of {name}")
    ann, bob = desired.users
    assert (ann.roles, bob.roles) == ({"team-a", "all", "Viewer"}, {"Op"})
    assert desired.rules.roles["team-a"].read == ("tag:team-a", "sales_*")
    assert DesiredAccess.from_text(desired.to_text()) == desired
    assert "password of" not in repr(desired)
    assert desired.lists.connections == {"sales_db": ListEntry(("tag:team-a", "file:dags/team_a/*"), triggers=True)}
    assert (desired.lists.variables, desired.lists.xcoms) == (
        {"sales_*": ListEntry()},
        {"tag:team-a": ListEntry(("report",))},
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("users: {admin: {email: a@b}}", "airfleet's own"),
        ("users: {Ann: {email: a@b}}", "a user name"),
        ("users: {ann: {email: nobody}}", "an e-mail address"),
        ("users: {ann: {email: a@b}, bob: {email: A@b}}", "ann has this e-mail address too"),
        ("users: {ann: {email: a@b, roles: [teem-a]}}\n  roles: {team-a: {}}", "did you mean 'team-a'"),
        ("users: {ann: {email: a@b, roles: [Public]}}", "without a login"),
        ("users: {ann: {email: a@b, groups: [x]}}", "there is no group 'x'"),
        ("users: {ann: {email: a@b, password: hunter22}}", "fleet.yaml never holds a password"),
        ("roles: {admin: {}}", "Airflow's own"),
        ("roles: {OP: {}}", "Airflow's own"),
        ("roles: {team: {}, Team: {}}", "upper and lower case"),
        ("roles: {'a/b': {}}", "a role: letters"),
        ("roles: {a: {dags: {read: ['tag:']}}}", "names no tag"),
        ("roles: {a: {dags: {read: ['Tag:x']}}}", "no pattern of Dag ids"),
        ("tasks: {connections: {'a b': {}}}", "a name, or a pattern"),
        ("tasks: {connections: {a: {dags: ['file:/etc/*']}}}", "no pattern of Dag files"),
        ("tasks: {variables: {a: {dags: ['file:dags/../x']}}}", "no pattern of Dag files"),
        ("tasks: {variables: {a: {dags: ['file:team_a/*']}}}", "write file:dags/FOLDER/*"),
        ("tasks: {xcoms: {'tag:': {}}}", "names no tag"),
        ("tasks: {xcoms: {a: {triggers: true}}}", "triggers"),
        ("groups: {a: {roles: [nobody]}}", "there is no role 'nobody'"),
        ("groups: {a: {roles: [Op], directory: [b]}}", "no directory is named"),
        (f"login: {{oidc: {OIDC}}}", "no group of the directory gives a role"),
        (f"login: {{oidc: {OIDC.replace('https', 'http')}}}\n{GIVEN}", "is no issuer"),
        (f"login: {{oidc: {OIDC.replace('{env: S}', 'hunter22')}}}\n{GIVEN}", "login.oidc.secret"),
        (f"login: {{}}\n{GIVEN}", "exactly one of ldap and oidc"),
        (f"login: {{ldap: {LDAP.replace('ldaps:', 'http:')}}}\n{GIVEN}", "no directory server"),
        (f"login: {{ldap: {LDAP.replace('{env: S}', 'hunter22')}}}\n{GIVEN}", "login.ldap.bind.password"),
        (f"login: {{ldap: {LDAP.replace('{env: S}', 'hunter22')}}}\n{GIVEN}", "hint: write where it comes from: {env"),
        (f"login: {{ldap: {LDAP}}}\n  groups: {{a: {{roles: [Op], directory: b}}}}", "expected a list, found text"),
        ("tasks: {xcoms: {a: {dag: [b]}}}", "did you mean 'dags'?"),
    ],
)
def test_mistakes_are_told(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(f"access:\n  {text}\n")
    assert said in str(caught.value)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("login", [f"ldap: {LDAP}", f"oidc: {OIDC}"])
def test_a_directory_reaches_a_web_host_with_its_secret(
    login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S", "the secret")
    fleet = load.parse(f"access:\n  login: {{{login}}}\n{GIVEN}\n", file="x", default_name="flights", cpus=8)
    found = resolve_directory(fleet, tmp_path)
    assert found
    assert "the secret" not in repr(found)
    directory = Directory.from_text(found.reveal())
    assert directory.find_roles([DirectoryGroup("BI", "cn=BI, ou=groups,dc=x")]) == {"Viewer", "Op"}
    assert "the secret" in found.reveal()
    assert "the secret" not in repr(directory)
    assert fleet.access
    assert fleet.access.resolve(lambda *_: "").source == directory.source.identity
