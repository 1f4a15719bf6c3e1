"""The hosts of a fleet whose PostgreSQL somebody else runs: what they get, and who gets its password."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from psycopg.conninfo import conninfo_to_dict

from airfleet.components import exporter
from airfleet.components.host_model import DATABASE_AUTHORITIES, HostFile, Part, Stage
from airfleet.components.hosts import host_parts, monitor
from airfleet.components.model import OwnDatabase, reveal
from airfleet.components.monitoring import rule_files
from airfleet.components.postgresql import own_server
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import environment
from own_servers import OUTSIDE, place_with
from places import parse

PASSWORD = "p@ss/w:rd%"
QUOTED = "p%40ss%2Fw%3Ard%25"
DATABASE = OwnDatabase(
    "db.example",
    6543,
    "metadata",
    "team af",
    Secret(PASSWORD),
    {"sslmode": "verify-full", "sslrootcert": "/home/me/ca.pem"},
    "-- authorities\n",
)


def list_parts(name: str) -> tuple[Part, ...]:
    return host_parts.describe(place_with(DATABASE, name), ssh_ports=(22,))


def list_files(parts: Iterable[Part]) -> list[HostFile]:
    return [file for part in parts for file in (*part.early, *part.files)]


def is_told(text: str) -> bool:
    return PASSWORD in text or QUOTED in text or json.dumps(PASSWORD)[1:-1] in text or QUOTED.replace("%", "%%") in text


@pytest.mark.parametrize(
    ("name", "knows"),
    [("sched1", True), ("web1", True), ("cpu1", False), ("broker1", False), ("web3", True)],
)
def test_only_hosts_that_read_the_metadata_get_its_password_in_files_that_others_cannot_read(
    name: str, knows: bool
) -> None:
    parts = list_parts(name)
    told = [file for file in list_files(parts) if is_told(reveal(file.content))]
    assert bool(told) is knows
    assert all(file.is_secret and file.mode & 0o007 == 0 and file.owner == "root" for file in told), told
    for service in (one for part in parts for one in part.services):
        assert not is_told(f"{service.command} {service.env} {service.reload}")


def test_the_job_that_knows_it_is_on_the_first_scheduler_before_the_schema_is_made() -> None:
    jobs = {name: [job for part in list_parts(name) for job in part.jobs] for name in ("sched1", "sched2", "web1")}
    stages = {job.name: job.stage for job in jobs["sched1"]}
    assert stages[own_server.NAME] < stages["metadata"] == Stage.METADATA
    assert [job.name for name in ("sched2", "web1") for job in jobs[name] if is_told(job.script.reveal())] == []


def test_no_host_runs_postgresql_and_hosts_trust_the_authorities_of_its_owner() -> None:
    for host in parse(OUTSIDE).hosts:
        parts = list_parts(host.name)
        names = {service.name for part in parts for service in part.services}
        assert not names & {"postgresql", "pgbouncer", "postgres-exporter", "backup", "etcd"}
        [trusted] = [file for file in list_files(parts) if file.path == DATABASE_AUTHORITIES]
        assert (trusted.content, trusted.mode) == ("-- authorities\n", 0o644)


def test_the_calls_of_tasks_go_to_the_database_itself_as_no_pooler_of_airfleet_s_is_there() -> None:
    [calls] = [one for part in list_parts("web1") for one in part.services if one.name == "execution-api"]
    assert environment.CALLS_DATABASE not in calls.env


def test_a_worker_reports_results_to_a_database_beside_it_with_a_login_of_its_own() -> None:
    [celery] = [file for file in list_files(list_parts("io1")) if file.path.name == "celery-io.json"]
    url = json.loads(reveal(celery.content))["result_backend"]
    words = conninfo_to_dict(url.replace("db+postgresql+psycopg2", "postgresql"))
    assert (words["host"], words["port"], words["dbname"]) == ("db.example", "6543", "metadata_results")
    assert (words["user"], words["password"]) == ("metadata_results_writer", "s3cret-writer")
    assert (words["sslmode"], words["sslrootcert"]) == ("verify-full", str(DATABASE_AUTHORITIES))


def test_a_monitor_host_neither_scrapes_a_server_that_is_not_there_nor_waits_for_its_backups() -> None:
    place = place_with(DATABASE, "web3")
    targets = {job.name: job.targets for job in monitor.list_jobs(place)}
    assert (targets["postgres"], targets["patroni"], targets["etcd"]) == ((), (), ())
    assert "backup_age" not in rule_files.render_limits(place.fleet)


def test_the_agents_look_for_no_pooler_in_front_of_it() -> None:
    assert exporter.configure_host(place_with(DATABASE))["pooler"] is False
