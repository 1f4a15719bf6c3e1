"""Hosts, roles and pools in fleet.yaml: a short file gives a whole fleet, and all mistakes are reported together."""

from __future__ import annotations

import pytest

from airfleet.errors import SpecError
from airfleet.spec import fleet, load

NINE = """\
name: flights
ssh: {user: ops, key: ~/.ssh/fleet}
hosts:
  web1: {address: 10.0.0.11, roles: [web, balancer]}
  web2: {address: 10.0.0.12, roles: [web]}
  web3: {address: 10.0.0.13, roles: [web, monitor]}
  sched1: {address: 10.0.0.21, roles: [scheduler]}
  sched2: {address: 10.0.0.22, roles: [scheduler]}
  cpu1: {address: 10.0.0.31, pools: [default, cpu]}
  memory1: {address: 10.0.0.32, pools: [memory]}
  io1: {address: 10.0.0.33, pools: [io]}
  data1: {address: 10.0.0.41, roles: [database, broker], user: root, port: 2222}
pools:
  default: {concurrency: 16}
  cpu: {concurrency: 4, cpus: 4}
  memory: {concurrency: 2, memory: 8G}
  io: {concurrency: 32, io_weight: 50, queues: [io, files]}
"""


def parse(text: str) -> fleet.Fleet:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8)


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return [(problem.line, problem.path, problem.what) for problem in caught.value.problems]


def test_nine_hosts_take_fewer_than_forty_lines() -> None:
    nine = parse(NINE)
    assert len(NINE.splitlines()) < 40
    assert [host.name for host in nine.with_role("web")] == ["web1", "web2", "web3"]
    assert [host.pools for host in nine.with_role("worker")] == [("default", "cpu"), ("memory",), ("io",)]
    assert nine.queues == ("default", "cpu", "memory", "io", "files")


def test_a_host_s_own_login_wins_over_that_of_all() -> None:
    logins = {host.name: host.ssh for host in parse(NINE).hosts}
    assert (logins["web1"].user, logins["web1"].port, logins["web1"].key) == ("ops", None, "~/.ssh/fleet")
    assert (logins["data1"].user, logins["data1"].port) == ("root", 2222)


def test_the_only_host_does_everything() -> None:
    (host,) = parse("hosts: {one: {address: 10.0.0.1}}").hosts
    assert {"web", "scheduler", "worker", "database", "broker", "balancer"} <= set(host.roles)
    assert host.pools == ("default",)


def test_hosts_run_releases() -> None:
    assert parse(NINE).dags == "releases"


def test_a_pool_s_size_is_no_matter_of_the_schedulers() -> None:
    assert parse(NINE).parallelism == parse(NINE.replace("concurrency: 16", "concurrency: 17")).parallelism


def test_limits_are_numbers_inside() -> None:
    pools = {pool.name: pool for pool in parse(NINE).pools}
    assert pools["memory"].limits.memory == 8 << 30
    assert pools["cpu"].limits.cpus == 4


def test_without_hosts_nothing_changes() -> None:
    here = parse("")
    assert here.hosts == ()
    assert here.dags == "folder"
    assert here.parallelism == 16


def test_every_mistake_is_told_at_once_with_its_line() -> None:
    text = """\
hosts:
  a: {address: 10.0.0.1, roles: [web, balancer]}
  b: {address: 10.0.0.1, roles: [web, balancer]}
  c: {address: 10.0.0.3, pools: [gpu]}
pools:
  cpu: {queues: [], memory: 100M}
  io: {min: 20}
"""
    found = problems(text)
    whats = [what for _, _, what in found]
    assert [(line, path) for line, path, _ in found] == sorted((line, path) for line, path, _ in found)
    for expected in (
        "no host has the role scheduler",
        "no host has the role database",
        "no host has the role broker",
        "two balancers have the same address: a has 10.0.0.1 too",
        "there is no pool 'gpu'",
        "a pool that serves no queue gets no task",
        "16 tasks do not fit into 100M: each takes 64 MiB at the least",
        "a worker keeps a process for each of its slots, and `scale` says how many of them it uses",
        "no host serves this pool, so no worker serves its queue io",
        "no pool serves the queue 'default', where tasks that name no queue go",
    ):
        assert expected in whats


@pytest.mark.parametrize(
    ("change", "to", "expected"),
    [
        ("[web, balancer]", "[web]", "there are 3 web hosts and no balancer, so only the first would get traffic"),
        ("roles: [web]}", "roles: []}", "this host has no role"),
        ("roles: [scheduler]}", "roles: [scheduler, broker]}", "2 hosts have the role broker"),
        ("pools: [io]", "roles: [web], pools: [io]", "this host has pools but not the role worker"),
        ("pools: [io]", "pools: []", "a worker without a pool gets no task"),
        ("name: flights", "dags: folder", "hosts cannot read a folder of this machine"),
        ("memory: 8G", "memory: 8 GB", "expected a size, found '8 GB'"),
        ("address: 10.0.0.11", "address: ops@10.0.0.11", "expected an IP address or a host name"),
        ("address: 10.0.0.11", "address: 'fd00::11'", "web1 has an IPv6 address, and 10.0.0.12 is none"),
        ("address: 10.0.0.11", "address: '[fd00::11]'", "expected an IP address or a host name"),
        (
            "address: 10.0.0.11",
            "address: '10.0.0.11:22'",
            "expected an IP address or a host name",
        ),
        ("address: 10.0.0.11", "address: 'fe80::11'", "other hosts cannot reach fe80::11"),
        ("address: 10.0.0.11", "address: '::ffff:10.0.0.11'", "other hosts cannot reach ::ffff:10.0.0.11"),
        ("roles: [web, balancer]", "roles: [web, balancer, db]", "expected web, scheduler, worker"),
        ("roles: [web, monitor]", "roles: [web, search]", "expected web, scheduler, worker"),
    ],
)
def test_a_mistake_is_named(change: str, to: str, expected: str) -> None:
    assert change in NINE
    text = NINE.replace(change, to, 1)
    assert any(what.startswith(expected) for _, _, what in problems(text)), problems(text)


def test_airflow_s_broker_settings_are_airfleet_s() -> None:
    assert any(
        "airfleet sets this option itself" in what for _, _, what in problems("airflow: {celery: {broker_url: x}}")
    )


APP = "app: {roles: [web, scheduler, worker]"


def describe_groups(*groups: str) -> str:
    return "machines:\n  command: [driver]\n  groups:\n" + "".join(f"    {one}, image: x}}\n" for one in groups)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("data: {count: 2, roles: [database, broker]", APP), "2 hosts have the role broker"),
        (
            ("data: {roles: [database]", "a: {roles: [broker]", "b: {roles: [broker]", APP),
            "2 hosts have the role broker",
        ),
        (
            ("data: {count: 2, roles: [web, scheduler, database]", "b: {roles: [broker, worker]"),
            "2 database hosts need 3",
        ),
        (("one: {roles: [database, broker]", APP, "logs: {count: 3, roles: [logs]"), "3 hosts have the role logs"),
    ],
)
def test_machines_that_could_not_be_hosts_together_are_named_before_they_are_made(
    groups: tuple[str, ...], expected: str
) -> None:
    found = problems(describe_groups(*groups))
    assert any(what.startswith(expected) for _, _, what in found), found
    assert all(path.startswith("machines.groups.") and line > 3 for line, path, _ in found)


def test_machines_that_can_be_hosts_together_and_those_of_hosts_by_other_names_are_no_mistake() -> None:
    parse(describe_groups("data: {count: 2, roles: [database]", "rest: {roles: [web, scheduler, broker]"))
    # The machine data1 is a host by the name pg, so the broker of the group is not a second one.
    parse(NINE.replace("data1:", "pg:") + describe_groups("data: {roles: [database, broker]"))
    # The hosts of other roles will be written by hand.
    parse(describe_groups("data: {count: 2, roles: [database, broker]", "w: {count: 3"))


SIX = NINE.replace("10.0.0.", "fd00::")


def test_hosts_may_all_have_ipv6_addresses() -> None:
    assert parse(SIX).hosts[0].address == "fd00::11"


@pytest.mark.parametrize(
    ("change", "to", "path", "expected"),
    [
        (
            "fd00::12",
            "web2.example.com",
            "hosts.web2.address",
            "web1 has an IPv6 address, and web2.example.com is none",
        ),
        ("fd00::12", "FD00:0::11", "hosts.web2.address", "the host web1 has the address FD00:0::11 too"),
        ("name: flights", "balancer: {address: 10.0.0.9}", "balancer", "the shared address is one of IPv4, and"),
        ("name: flights", "vpn: {host: web1, endpoint: vpn.example.com}", "vpn", "the tunnel is one of IPv4, and"),
    ],
)
def test_what_hosts_with_ipv6_addresses_cannot_have_is_named(change: str, to: str, path: str, expected: str) -> None:
    assert change in SIX
    found = problems(SIX.replace(change, to, 1))
    assert any(where == path and what.startswith(expected) for _, where, what in found), found
