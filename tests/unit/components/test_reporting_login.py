"""The login for reports: what fleet.yaml may say of it, and who reaches it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from airfleet.components.hosts import host_parts
from airfleet.components.model import reveal
from airfleet.components.postgresql import server as postgresql
from airfleet.errors import SpecError, UsageError
from airfleet.runners.fleet.survey import fleet_spec
from airfleet.spec.secrets import Secret
from places import NINE, parse, place, with_setting

READERS = "readers: [10.0.9.5, 10.0.9.0/24, 10.7.0.1]"
REPORTING = f"reporting: {{password: {{env: REPORTS}}, {READERS}}}\n"


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        (f"{NINE}reporting: {{readers: [10.0.9.5]}}\n", "reporting.password", "missing"),
        (NINE + REPORTING.replace("{env: REPORTS}", "secret"), "reporting.password", "fleet.yaml never holds a pass"),
        (NINE + REPORTING.replace("10.7.0.1", "bi.example"), "reporting.readers", "expected an IP address or the"),
        (NINE + REPORTING.replace("10.7.0.1", "10.7.0.1/8"), "reporting.readers", "expected an IP address or the"),
        (NINE + REPORTING.replace("10.7.0.1", "0.0.0.0/0"), "reporting.readers", "0.0.0.0/0 lets in too many machines"),
        (REPORTING, "reporting", "only a fleet of hosts has a login for reports"),
        (with_setting(NINE, "[warehouse]", "[airfleet_reporting]"), "databases", "the database 'airfleet_reporting'"),
    ],
)
def test_a_mistake_is_named(text: str, path: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    found = [one for one in caught.value.problems if one.path.startswith(path)]
    assert [one.what[: len(what)] for one in found if one.what.startswith(what)] or "missing" in what, found
    assert found


def test_readers_reach_every_database_host_with_tls_alone() -> None:
    text = with_setting(NINE, "[web, monitor]", "[web, monitor, database]") + REPORTING
    for name in ("data1", "web3"):
        access = postgresql.render_access(place(parse(text), name)).splitlines()
        assert [line for line in access if "airfleet_reporting" in line] == [
            "hostssl airflow airfleet_reporting 10.0.9.0/24 scram-sha-256",
            "hostssl airflow airfleet_reporting 10.7.0.1/32 scram-sha-256",
        ]
        parts = host_parts.describe(place(parse(text), name), ssh_ports=(22,))
        (rules,) = (
            reveal(file.content)
            for part in parts
            for service in part.services
            for file in service.files
            if file.path.name == "firewall.nft"
        )
        assert "ip saddr { 10.0.9.0/24, 10.7.0.1 } tcp dport 5432 accept" in rules
    assert "reporting" not in postgresql.render_access(place(parse(NINE), "data1"))


def test_the_rights_are_given_again_for_each_version_of_airflow() -> None:
    where = place(parse(NINE + REPORTING), "data1")
    later = replace(where, objects=replace(where.objects, versions="apache-airflow==4"))
    jobs = [
        {job.name: job.fingerprint for job in postgresql.describe(one).jobs if job.name == "reporting-rights"}
        for one in (where, later)
    ]
    assert jobs[0]
    assert jobs[0] != jobs[1]


def test_the_superuser_finds_only_its_own_functions_in_airflows_database() -> None:
    where = place(parse(NINE + REPORTING), "data1")
    where = replace(where, objects=replace(where.objects, reporting=Secret("s" * 16)))
    [script] = [job.script.reveal() for job in postgresql.describe(where).jobs if job.name == "postgresql-roles"]
    assert script.count("\\connect airflow\n") == 1
    assert "\\connect airflow\nSET search_path = pg_catalog;\n" in script


@pytest.mark.parametrize(("password", "is_well"), [("short", False), ("sixteen\ncharacters", False), ("s" * 16, True)])
def test_a_password_is_long_and_of_one_line(password: str, is_well: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTS", password)
    fleet = parse(NINE + REPORTING)
    if is_well:
        assert fleet_spec._resolve_reporting(fleet, Path()) == Secret(password)
    else:
        with pytest.raises(UsageError, match="fewer than 16 characters") as caught:
            fleet_spec._resolve_reporting(fleet, Path())
        assert password not in str(caught.value)
