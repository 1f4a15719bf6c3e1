"""The hosts of an Ansible inventory, as the section `hosts` of fleet.yaml.

Three forms are read: INI, YAML, and the JSON of `ansible-inventory --list`, in which Ansible has resolved everything.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from airfleet.errors import UsageError
from airfleet.spec.topology import ROLES, Role

_RANGE = re.compile(r"\[(\d+|[a-z]):(\d+|[a-z])\]")
_MOST_HOSTS = 1000
_META = "_meta"
POOL = "pool:"
_HINT = "give `ansible-inventory -i FILE --list`, which resolves everything, as a file"


@dataclass
class _Inventory:
    """The groups of each host and the variables of each host, filled as the text is read."""

    groups: dict[str, set[str]] = field(default_factory=dict)
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    children: dict[str, set[str]] = field(default_factory=dict)
    common: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, host: str, group: str, said: Mapping[Any, object] | None = None) -> None:
        for name in _expand(host):
            self.groups.setdefault(name, set()).add(group)
            self.variables.setdefault(name, {}).update(_pick(said or {}))

    def groups_of(self, host: str) -> set[str]:
        """Return the groups of a host with those above them."""
        found, new = set[str](), set(self.groups[host])
        while new:
            found |= new
            new = {parent for parent, inner in self.children.items() if inner & new} - found
        return found

    def variable(self, host: str, name: str) -> str:
        own = self.variables[host].get(name)
        if own is not None:
            return own
        # Of several groups that say different things, Ansible's order of groups decides, which is not known here.
        said = {self.common[group][name] for group in self.groups_of(host) if name in self.common.get(group, {})}
        if len(said) > 1:
            raise UsageError(f"the groups of {host} say different things about {name}", hint=_HINT)
        return next(iter(said), "")


def read_hosts(text: str, mapping: Mapping[str, Sequence[str]]) -> tuple[dict[str, dict[str, object]], tuple[str, ...]]:
    """Return the hosts with roles and pools, and the names of hosts that no group gives a role.

    `mapping` gives a group of the inventory roles, and pools as `pool:NAME`. A group that has the name of a role, or
    its plural, gives this role without a mapping.

    Raises:
        UsageError: The text is no inventory, or needs Ansible to be understood.
    """
    found = _parse(text)
    if len(found.groups) > _MOST_HOSTS:
        raise UsageError(f"{len(found.groups)} hosts are too many", hint=f"at most {_MOST_HOSTS}")
    hosts: dict[str, dict[str, object]] = {}
    left: list[str] = []
    for name in found.groups:
        words = [word for group in sorted(found.groups_of(name)) for word in _words(group, mapping)]
        if not words:
            left.append(name)
            continue
        roles = [role for role in ROLES if role in words]
        pools = sorted({word.removeprefix(POOL) for word in words if word.startswith(POOL)})
        if pools and "worker" not in roles and roles:
            roles.append("worker")
        one: dict[str, object] = {"address": found.variable(name, "ansible_host") or name}
        one |= {"roles": roles} if roles else {}
        one |= {"pools": pools} if pools else {}
        if user := found.variable(name, "ansible_user"):
            one["user"] = user
        if port := found.variable(name, "ansible_port"):
            one["port"] = _number(port)
        hosts[_rename(name, hosts)] = one
    return hosts, tuple(left)


def read_mapping(written: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the roles and pools by group, from texts such as `etl=worker,pool:default`.

    Raises:
        UsageError: A text has another form, or names no role.
    """
    found = {}
    for text in written:
        group, equals, words = text.partition("=")
        wanted = tuple(word for word in words.split(",") if word)
        unknown = [word for word in wanted if word not in ROLES and not word.startswith(POOL)]
        if not equals or not group or not wanted or unknown:
            hint = f"GROUP=ROLE,… with the roles {', '.join(ROLES)}, and pools as {POOL}NAME"
            raise UsageError(f"not a mapping of a group: {text}", hint=hint)
        found[group] = wanted
    return found


def _words(group: str, mapping: Mapping[str, Sequence[str]]) -> Sequence[str]:
    if group in mapping:
        return mapping[group]
    roles: dict[str, Role] = {name: role for role in ROLES for name in (role, f"{role}s")}
    return [roles[group]] if group in roles else []


def _number(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"ansible_port is no number: {text}", hint=_HINT)
    return int(text)


def _rename(name: str, taken: Mapping[str, object]) -> str:
    """Return a name of fleet.yaml: the host's short name where no other host has it."""
    short = re.sub(r"[^a-z0-9_-]+", "-", name.partition(".")[0].lower()) or "h"
    short = (short if short[0].isalpha() else f"h{short}")[:40]
    if short in taken:
        short = (re.sub(r"[^a-z0-9_-]+", "-", name.lower()) or "h")[-39:]
        short = short if short[0].isalpha() else f"h{short}"
    if short in taken:
        raise UsageError(f"two hosts would have the name {short}", where=name, hint="rename one in the inventory")
    return short


def _pick(said: Mapping[Any, object]) -> dict[str, str]:
    """Return the variables that are needed. Others, which may be secrets, are not kept."""
    kept = {}
    for name in ("ansible_host", "ansible_user", "ansible_port"):
        if name in said:
            value = str(said[name])
            if "{{" in value or value.startswith("!vault"):
                raise UsageError(f"{name} is a template", hint=_HINT)
            kept[name] = value
    return kept


def _parse(text: str) -> _Inventory:
    try:
        said = yaml.load(text, Loader=_InventoryLoader)  # noqa: S506 - a SafeLoader that knows two more tags
    except yaml.YAMLError:
        said = None
    found = _Inventory()
    if isinstance(said, dict):
        if _META in said:
            _read_listed(said, found)
        else:
            for name, group in said.items():
                _read_group(str(name), group, found)
    else:
        _read_ini(text, found)
    if not found.groups:
        raise UsageError("this is no Ansible inventory with hosts", hint=_HINT)
    return found


class _InventoryLoader(yaml.SafeLoader):
    """Reads Ansible's own tags as empty texts: they mark secrets and texts that are no templates."""


for _tag in ("!vault", "!unsafe"):
    _InventoryLoader.add_constructor(_tag, lambda _loader, _node: "")


def _read_listed(said: Mapping[str, object], found: _Inventory) -> None:
    meta = said[_META]
    known = meta.get("hostvars", {}) if isinstance(meta, dict) else {}
    for group, body in said.items():
        if group == _META or not isinstance(body, dict):
            continue
        found.children[group] = {str(one) for one in body.get("children", [])}
        for host in body.get("hosts", []):
            found.add(str(host), group, known.get(host) or {})


def _read_group(name: str, body: object, found: _Inventory, depth: int = 0) -> None:
    if not isinstance(body, dict):
        return
    if depth > 20:
        raise UsageError("groups lie in each other without an end", where=name, hint=_HINT)
    found.common.setdefault(name, {}).update(_pick(body.get("vars") or {}))
    for host, said in (body.get("hosts") or {}).items():
        found.add(str(host), name, said if isinstance(said, dict) else {})
    for child, inner in (body.get("children") or {}).items():
        found.children.setdefault(name, set()).add(str(child))
        _read_group(str(child), inner, found, depth + 1)


def _read_ini(text: str, found: _Inventory) -> None:
    group, kind = "ungrouped", ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()  # noqa: PLW2901
        if not line or line[0] in "#;":
            continue
        if head := re.fullmatch(r"\[([^\]:]+)(?::(children|vars))?\]", line):
            group, kind = head[1], head[2] or ""
        elif kind == "children":
            found.children.setdefault(group, set()).add(line.partition(" #")[0].strip())
        elif kind == "vars":
            name, _, value = line.partition("=")
            found.common.setdefault(group, {}).update(
                _pick({name.strip(): value.partition(" #")[0].strip().strip("\"'")})
            )
        else:
            try:
                host, *words = shlex.split(line, comments=True)
            except ValueError as error:
                raise UsageError(str(error), where=f"line {number}", hint=_HINT) from None
            found.add(host, group, dict(word.split("=", 1) for word in words if "=" in word))


def _expand(host: str) -> Iterator[str]:
    """Yield the names of a pattern such as web[01:10]."""
    part = _RANGE.search(host)
    if part is None:
        yield host
        return
    first, last = part[1], part[2]
    if first.isdecimal() and last.isdecimal():
        span = range(int(first), min(int(last), int(first) + _MOST_HOSTS) + 1)
        names = [str(number).zfill(len(first)) for number in span]
    elif len(first) == len(last) == 1 and not first.isdecimal() and not last.isdecimal():
        names = [chr(code) for code in range(ord(first), ord(last) + 1)]
    else:
        raise UsageError(f"not a range of hosts: {host}", hint=_HINT)
    for name in names:
        yield from _expand(host[: part.start()] + name + host[part.end() :])
