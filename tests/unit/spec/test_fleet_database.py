"""`database` in fleet.yaml: a PostgreSQL that somebody else runs, and what does not go with it."""

from __future__ import annotations

import pytest

from airfleet.errors import SpecError
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet.spec.secret_ref import SecretRef

OWN = "database: {url: {env: MY_DATABASE}}\n"


def parse(text: str) -> Fleet:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8)


def test_its_url_is_a_reference() -> None:
    assert parse(OWN).database == SecretRef(env="MY_DATABASE")
    with pytest.raises(SpecError, match="never holds a password") as refusal:
        parse("database: {url: 'postgresql://team:s3cret@db/meta'}\n")
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("executor: celery\n", "executor: Celery needs a database of its own"),
        ("databases: [warehouse]\n", "databases: airfleet makes no databases on a server that you run"),
        ("ports: {database: 15432}\n", "ports.database: airfleet runs no PostgreSQL that would listen there"),
        ("hosts: {a: {address: h1.test, roles: [database, web]}}\n", "hosts.a.roles: this host has the role database"),
        ("hosts: {a: {address: h1.test}}\nbackups: {keep: 3}\n", "backups: somebody else runs PostgreSQL"),
        ("hosts: {a: {address: h1.test}}\nreplication: synchronous\n", "replication: somebody else runs PostgreSQL"),
    ],
)
def test_what_does_not_go_with_it_is_refused(more: str, what: str) -> None:
    with pytest.raises(SpecError, match=what):
        parse(OWN + more)


def test_a_fleet_has_no_database_host_then_and_its_schedulers_keep_the_lease() -> None:
    [host] = parse(OWN + "hosts: {a: {address: h1.test}}\n").hosts
    assert "database" not in host.roles
    assert {"web", "scheduler", "worker", "broker"} < set(host.roles)
    several = parse(
        f"{OWN}hosts:\n  w: {{address: w.test, roles: [web, worker, broker]}}\n"
        "  s1: {address: s1.test, roles: [scheduler]}\n  s2: {address: s2.test, roles: [scheduler]}\n"
    )
    assert ([host.name for host in several.keepers], several.primary.name) == (["s1", "s2"], "s1")
    assert several.voters == ()
