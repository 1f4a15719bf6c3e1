"""Rules of `access` in fleet.yaml that concern several values."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from airfleet.spec.yaml_document import Violation
from airfleet_provider.contract.access_roles import AIRFLOW_ROLES


def find_violations(access: Mapping[str, Any]) -> Iterator[Violation]:
    """Yield the violations. A value of the wrong type yields none: the model reports it."""
    roles = [*AIRFLOW_ROLES, *_map(access.get("roles"))]
    groups = list(_map(access.get("groups")))
    addresses: dict[str, str] = {}
    cases: dict[str, str] = {}
    for name in _map(access.get("roles")):
        if other := cases.get(str(name).lower()):
            yield Violation(
                ("access", "roles", name), f"the role {other!r} differs in upper and lower case only", "rename one"
            )
        cases[str(name).lower()] = str(name)
    for name, group in _map(access.get("groups")).items():
        yield from _unknown(("access", "groups", name, "roles"), _list(_map(group).get("roles")), roles, "role")
        if _list(_map(group).get("directory")) and not access.get("login"):
            what, hint = "no directory is named that has these groups", "write `login` under `access`"
            yield Violation(("access", "groups", name, "directory"), what, hint)
    if access.get("login") and not any(
        _list(_map(one).get("directory")) for one in _map(access.get("groups")).values()
    ):
        hint = "write `directory: [NAME]` into a group under `access.groups`"
        yield Violation(("access", "login"), "no group of the directory gives a role, so nobody there can log in", hint)
    for name, one in _map(access.get("users")).items():
        user = _map(one)
        yield from _unknown(("access", "users", name, "roles"), _list(user.get("roles")), roles, "role")
        yield from _unknown(("access", "users", name, "groups"), _list(user.get("groups")), groups, "group")
        if isinstance(email := user.get("email"), str):
            if other := addresses.get(email.lower()):
                what = f"{other} has this e-mail address too, and Airflow lets users log in with it"
                yield Violation(("access", "users", name, "email"), what, "give each user an address of their own")
            addresses[email.lower()] = str(name)


def _unknown(path: tuple[str, ...], names: list[str], known: list[str], noun: str) -> Iterator[Violation]:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known {noun}s: {', '.join(known) or 'none'}"
            yield Violation(path, f"there is no {noun} {name!r}", hint)


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
