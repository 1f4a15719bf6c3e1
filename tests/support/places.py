"""A fleet of nine hosts as data, for tests of the files, services and ports of each host."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import pytest

from airfleet.components.host_model import (
    OPT,
    ClusterLogins,
    Encryption,
    FleetCredentials,
    HostCertificate,
    HostMachine,
    Objects,
    Part,
    Place,
    System,
)
from airfleet.components.hosts import host_parts
from airfleet.components.model import Credentials
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.errors import SpecError
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret

NINE = """\
name: flights
databases: [warehouse]
hosts:
  web1: {address: 10.0.0.11, roles: [web, balancer]}
  web2: {address: 10.0.0.12, roles: [web]}
  web3: {address: 10.0.0.13, roles: [web, monitor]}
  sched1: {address: 10.0.0.21, roles: [scheduler]}
  sched2: {address: 10.0.0.22, roles: [scheduler]}
  cpu1: {address: 10.0.0.31, pools: [default, cpu]}
  memory1: {address: 10.0.0.32, pools: [memory]}
  io1: {address: 10.0.0.33, pools: [io]}
  data1: {address: 10.0.0.41, roles: [database, broker]}
pools:
  default: {concurrency: 16}
  cpu: {concurrency: 4, cpus: 4}
  memory: {concurrency: 2, memory: 8G}
  io: {concurrency: 32, io_weight: 50, tasks_max: 500}
"""
# Nobody answers there: RFC 5737 keeps these addresses for documentation.
NOBODY = NINE.replace("10.0.0.", "192.0.2.")
POOLS = ("default", "cpu", "memory", "io")
SECRETS = (
    *("admin", "superuser", "airflow", "fernet", "jwt", "token-key", "key"),
    *("replication", "monitor", "cookie", "writer", "reader", "publisher", "signing", "warehouse", "tls"),
    *("etcd-root", "etcd", "rest", "rewinder"),
    *(f"pool-{pool}" for pool in POOLS),
)
_VALUES = {name: Secret(f"s3cret-{name}") for name in SECRETS}
CREDENTIALS = FleetCredentials(
    platform=Credentials(
        admin=_VALUES["admin"],
        superuser=_VALUES["superuser"],
        airflow=_VALUES["airflow"],
        fernet_key=_VALUES["fernet"],
        jwt_secret=_VALUES["jwt"],
        jwt_key=_VALUES["token-key"],
        secret_key=_VALUES["key"],
        databases={"warehouse": _VALUES["warehouse"]},
    ),
    replication=_VALUES["replication"],
    monitor=_VALUES["monitor"],
    erlang_cookie=_VALUES["cookie"],
    identity="0123456789abcdef",
    results=ResultLogins(_VALUES["writer"], _VALUES["reader"]),
    publisher=_VALUES["publisher"],
    consumers={pool: _VALUES[f"pool-{pool}"] for pool in POOLS},
    signing=_VALUES["signing"],
    encryption=Encryption("authorities\n", defaultdict(lambda: HostCertificate("certificate\n", _VALUES["tls"]))),
    cluster=ClusterLogins(
        etcd_root=_VALUES["etcd-root"],
        etcd=_VALUES["etcd"],
        rest=_VALUES["rest"],
        rewinder=_VALUES["rewinder"],
    ),
)
RUNTIME = "0123456789abcdef"
DEBIAN = System("Debian 12", "python3.11", 15)
OBJECTS = Objects({"crm": "http://crm"}, {"days": 7}, {"TOKEN": Secret("s3cret-token")}, "apache-airflow==3")


@cache
def parse(text: str = NINE) -> Fleet:
    """Return the fleet of a fleet.yaml. Equal texts give the same object, which is immutable."""
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8)


def check_mistake(text: str, path: str, what: str) -> None:
    """Show that a fleet.yaml is refused with one mistake at a path, whose message begins so and has a hint."""
    with pytest.raises(SpecError) as caught:
        parse(text)
    found = [problem for problem in caught.value.problems if problem.path == path]
    assert [problem.what[: len(what)] for problem in found] == [what]
    assert found[0].hint


def place(fleet: Fleet, name: str, *, memory: int = 16 << 30, runtime: str = RUNTIME) -> Place:
    host = next(host for host in fleet.hosts if host.name == name)
    machine = HostMachine(DEBIAN, "x86_64", memory, 4, ("127.0.0.1", host.address))
    return Place(fleet, host, machine, OPT / runtime, CREDENTIALS, OBJECTS)


def config_path(home: str, runtime: str = RUNTIME) -> str:
    """Return the path of a host's airflow.cfg for one version of the packages."""
    return f"/etc/airfleet/{home}/{runtime}/airflow.cfg"


def parts(name: str, text: str = NINE) -> tuple[Part, ...]:
    return host_parts.describe(place(parse(text), name), ssh_ports=(22,))


@cache
def desired(name: str, text: str = NINE, *, memory: int = 16 << 30, runtime: str = RUNTIME) -> DesiredHost:
    where = place(parse(text), name, memory=memory, runtime=runtime)
    return DesiredHost(where, host_parts.describe(where, ssh_ports=(22,)))


def with_setting(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)
