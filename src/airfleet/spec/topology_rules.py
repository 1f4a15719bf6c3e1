"""Rules of fleet.yaml that concern hosts, roles and pools together.

Like those of `rules.py`, they read the raw data, so that a user sees their violations beside the errors of the model.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from airfleet.spec import topology
from airfleet.spec.addresses import is_ipv6
from airfleet.spec.sections import hosts
from airfleet.spec.sections.machines import MOST_MACHINES
from airfleet.spec.yaml_document import Violation

# A task process of Airflow needs more memory than this. With less, the kernel kills the pool before its slots are full.
LEAST_SLOT_MEMORY = 64 << 20


def findings(data: Mapping[str, object]) -> Iterator[Violation]:
    """Yield the violations. A value of the wrong type yields none: the model reports it."""
    pools = {name: pool for name, pool in _map(data.get("pools")).items() if isinstance(pool, dict)}
    machines = {name: host for name, host in _map(data.get("hosts")).items() if isinstance(host, dict)}
    for name, pool in pools.items():
        yield from _pool(name, pool)
    outside = {role for role, section in topology.OWN_SECTIONS.items() if data.get(section)}
    if not machines:
        yield from _made(_map(_map(data.get("machines")).get("groups")), outside)
        yield from _shared_address(data, machines, {})
        return
    every = [*topology.list_roles({topology.OWN_SECTIONS[role] for role in outside})]
    roles = {name: _roles(host, every if len(machines) == 1 else ["worker"]) for name, host in machines.items()}
    yield from _missing_roles(roles, outside)
    yield from _addresses(machines, roles)
    yield from _families(data, machines)
    yield from _shared_address(data, machines, roles)
    yield from _broker(machines, roles)
    yield from _log_stores(roles)
    yield from _voters(roles)
    yield from _served(machines, roles, pools)
    yield from _queues(data, pools)
    if data.get("dags") == "folder":
        hint = "remove this line: hosts run the releases that `airfleet release deploy` makes of the project"
        yield Violation(("dags",), "hosts cannot read a folder of this machine", hint)


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: object) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _roles(host: dict[str, Any], default: list[topology.Role]) -> list[str]:
    if host.get("roles") is not None:
        return _words(host["roles"])
    return [*default] if len(default) > 1 or host.get("pools") else []


def _pool(name: str, pool: dict[str, Any]) -> Iterator[Violation]:
    if pool.get("queues") == []:
        yield Violation(("pools", name, "queues"), "a pool that serves no queue gets no task", "name a queue")
    concurrency = pool.get("concurrency", topology.WorkerPool("", ()).concurrency)
    memory = pool.get("memory")
    if not isinstance(concurrency, int):
        return
    if isinstance(memory, str) and re.fullmatch("[1-9][0-9]*[MG]", memory):
        needed = concurrency * LEAST_SLOT_MEMORY
        if hosts.bytes_of(memory) < needed:
            what = (
                f"{concurrency} tasks do not fit into {memory}: each takes {LEAST_SLOT_MEMORY >> 20} MiB at the least"
            )
            yield Violation(("pools", name, "memory"), what, f"allow {needed >> 20}M or more, or lower `concurrency`")


def _missing_roles(roles: Mapping[str, list[str]], outside: set[topology.Role]) -> Iterator[Violation]:
    """Yield which roles are missing, or are given although somebody else runs their server."""
    for name, own in roles.items():
        for role in sorted(outside & set(own)):
            section = topology.OWN_SECTIONS[role]
            what = f"this host has the role {role}, and `{section}` names a server that somebody else runs"
            hint = f"take the role from the host, or remove `{section}`"
            yield Violation(("hosts", name, "roles"), what, hint)
        if not own:
            known = ", ".join(topology.ROLES)
            yield Violation(("hosts", name), "this host has no role", f"add `roles`: some of {known}")
    given = {role for own in roles.values() for role in own}
    for role in topology.NEEDED_ROLES:
        if role not in given | outside:
            words = topology.ROLE_WORDS[role]
            yield Violation(("hosts",), f"no host has the role {role}", f"give it to a host: it {words}")
    webs = [name for name, own in roles.items() if "web" in own]
    if len(webs) > 1 and "balancer" not in given:
        what = f"there are {len(webs)} web hosts and no balancer, so only the first would get traffic"
        yield Violation(("hosts",), what, "give the role balancer to a host, such as a web host")


def _addresses(machines: Mapping[str, dict[str, Any]], roles: Mapping[str, list[str]]) -> Iterator[Violation]:
    first: dict[str, str] = {}
    for name, host in machines.items():
        address = host.get("address")
        if not isinstance(address, str):
            continue
        other = first.setdefault(_canonical(address), name)
        if other == name:
            continue
        if "balancer" in roles[name] and "balancer" in roles[other]:
            what = f"two balancers have the same address: {other} has {address} too"
            yield Violation(("hosts", name, "address"), what, "give the role to one of them, or another address")
        else:
            what = f"the host {other} has the address {address} too"
            yield Violation(("hosts", name, "address"), what, "write both hosts as one, with the roles of both")


def _families(data: Mapping[str, object], machines: Mapping[str, dict[str, Any]]) -> Iterator[Violation]:
    """Yield why hosts with IPv6 addresses cannot be one fleet with the others, or with what else the file wants."""
    addresses = {name: host.get("address") for name, host in machines.items()}
    six = [name for name, one in addresses.items() if isinstance(one, str) and is_ipv6(one)]
    if not six:
        return
    for name, one in addresses.items():
        if isinstance(one, str) and not is_ipv6(one):
            # A host comes to others from its address of their family, which nothing in the file says.
            what = f"{six[0]} has an IPv6 address, and {one} is none: hosts let each other in by these addresses"
            hint = "give all hosts IPv6 addresses, or none; a name counts as IPv4"
            yield Violation(("hosts", name, "address"), what, hint)
    for key, why in (("balancer", "the shared address is one of IPv4"), ("vpn", "the tunnel is one of IPv4")):
        if data.get(key) is not None:
            what = f"{why}, and the hosts of this file have IPv6 addresses"
            yield Violation((key,), what, f"remove `{key}`, or give the hosts IPv4 addresses")


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.IPv6Address(address))
    except ValueError:
        return address.lower()


def _shared_address(
    data: Mapping[str, object], machines: Mapping[str, dict[str, Any]], roles: Mapping[str, list[str]]
) -> Iterator[Violation]:
    """Yield why the balancer hosts cannot share an address."""
    shared = _map(data.get("balancer")).get("address")
    if not isinstance(shared, str):
        return
    names = [name for name, own in roles.items() if "balancer" in own]
    if len(names) < 2:
        few = f"only {names[0]} has" if names else "no host has"
        what = f"{few} the role balancer, so the address could not move to another host"
        yield Violation(("balancer",), what, "give the role to two hosts, or remove this")
    for name, host in machines.items():
        if host.get("address") == shared:
            what = f"the host {name} has the address {shared} for itself"
            yield Violation(("balancer", "address"), what, "write an address that no machine has")
    for name in names:
        address = machines[name].get("address")
        if isinstance(address, str) and not re.fullmatch(r"[0-9.]+", address) and not is_ipv6(address):
            what = f"balancers that share an address know each other by IP address, and {address!r} is a name"
            yield Violation(("hosts", name, "address"), what, "write the IPv4 address of the host")


def _made(groups: Mapping[str, object], outside: set[topology.Role]) -> Iterator[Violation]:
    """Yield why the machines of groups could not be hosts together: it is known before anybody pays for them.

    That needs groups of all roles: otherwise more hosts will be written. Once there are hosts, these are checked.
    """
    of_group: dict[str, str] = {}
    roles: dict[str, list[str]] = {}
    for group, one in groups.items():
        own = _map(one)
        count = own.get("count", 1)
        for number in range(1, 1 + (min(count, MOST_MACHINES) if isinstance(count, int) else 0)):
            name = f"{group}{number}"
            of_group[name], roles[name] = group, _words(own.get("roles")) or ["worker"]
    if not set(topology.NEEDED_ROLES) <= {*outside, *(role for own in roles.values() for role in own)}:
        return
    for found in (*_broker({}, roles), *_log_stores(roles), *_voters(roles)):
        yield Violation(("machines", "groups", of_group[str(found.path[1])]), found.what, found.hint)


def _broker(machines: Mapping[str, dict[str, Any]], roles: Mapping[str, list[str]]) -> Iterator[Violation]:
    names = [name for name, own in roles.items() if "broker" in own]
    if names and len(names) not in topology.BROKER_SIZES:
        what = f"{len(names)} hosts have the role broker: a replicated queue needs a majority of its nodes"
        yield Violation(("hosts", names[-1], "roles"), what, "give it to 1 host or to 3")
    if len(names) > 1:
        for name in names:
            address = _map(machines.get(name)).get("address")
            if isinstance(address, str) and "." not in address and not is_ipv6(address):
                what = f"RabbitMQ nodes find each other by address, and {address!r} is a short name"
                yield Violation(
                    ("hosts", name, "address"), what, "write the IP address or the full name with its domain"
                )


def _log_stores(roles: Mapping[str, list[str]]) -> Iterator[Violation]:
    names = [name for name, own in roles.items() if "logs" in own]
    if len(names) > topology.MOST_LOG_STORES:
        what = f"{len(names)} hosts have the role logs, and every host sends all its lines to each of them"
        yield Violation(("hosts", names[-1], "roles"), what, "give it to 1 host or to 2")


def _voters(roles: Mapping[str, list[str]]) -> Iterator[Violation]:
    """Yield whether there are too few hosts to agree on which of several database hosts is the primary."""
    databases = [name for name, own in roles.items() if "database" in own]
    able = [name for name, own in roles.items() if "database" in own or "worker" not in own]
    if len(databases) > 1 and len(able) < topology.VOTERS:
        what = (
            f"{len(databases)} database hosts need {topology.VOTERS} hosts that agree on the primary,"
            f" and {len(able)} can: {', '.join(able)}"
        )
        hint = "a host votes if it has the role database, or any other role and not worker; or name one database host"
        yield Violation(("hosts", databases[-1], "roles"), what, hint)


def _served(
    machines: Mapping[str, dict[str, Any]], roles: Mapping[str, list[str]], pools: Mapping[str, object]
) -> Iterator[Violation]:
    known = list(pools) or [pool.name for pool in topology.DEFAULT_POOLS]
    served: set[str] = set()
    for name, host in machines.items():
        own = host.get("pools")
        if own == []:
            yield Violation(
                ("hosts", name, "pools"), "a worker without a pool gets no task", "name a pool, or remove this"
            )
        if own and "worker" not in roles[name]:
            yield Violation(
                ("hosts", name, "pools"), "this host has pools but not the role worker", "add worker to its roles"
            )
        for pool in _words(own):
            if pool not in known:
                hint = f"known pools: {', '.join(known)}"
                yield Violation(("hosts", name, "pools"), f"there is no pool {pool!r}", hint)
        if "worker" in roles[name]:
            served.update(known if own is None else _words(own))
    for pool in pools:
        if pool not in served:
            queues = ", ".join(_words(_map(pools[pool]).get("queues")) or [pool])
            what = f"no host serves this pool, so no worker serves its queue {queues}"
            yield Violation(("pools", pool), what, "add it to the `pools` of a host, or remove it")


def _queues(data: Mapping[str, object], pools: Mapping[str, dict[str, Any]]) -> Iterator[Violation]:
    section = _map(_map(data.get("airflow")).get("operators"))
    default = section.get("default_queue", topology.DEFAULT_QUEUE)
    queues = {queue for name, pool in pools.items() for queue in _words(pool.get("queues", [name]))}
    queues = queues or {topology.DEFAULT_QUEUE}
    routing = data.get("routing")
    for index, route in enumerate(routing if isinstance(routing, list) else []):
        queue = _map(route).get("queue")
        if isinstance(queue, str) and queue not in queues:
            what = f"no pool serves the queue {queue!r}"
            yield Violation(("routing", index, "queue"), what, f"known queues: {', '.join(sorted(queues))}")
    if pools and default not in queues:
        what = f"no pool serves the queue {default!r}, where tasks that name no queue go"
        hint = f"add {default} to the `queues` of a pool, or set airflow: {{operators: {{default_queue: ...}}}}"
        yield Violation(("pools",), what, hint)
