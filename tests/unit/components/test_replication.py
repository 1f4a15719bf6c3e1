"""Two database hosts: everybody finds the primary, a promotion moves roles and no more, and the former stays away."""

from __future__ import annotations

import configparser
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.dialects.postgresql import asyncpg, psycopg2
from sqlalchemy.engine import make_url

from airfleet.components.host_model import Part
from airfleet.components.hosts.host_parts import describe
from airfleet.components.model import reveal
from airfleet.components.postgresql import replication
from airfleet.runners.fleet.plan import systemd_units
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Promoted
from places import NINE, config_path, parse, place, with_setting

TWO = with_setting(NINE, "pools: [io]", "roles: [worker, database], pools: [io]").replace("  io1:", "  data2:")
HOSTS = ("web1", "sched1", "cpu1", "data1", "data2")


def fleet(*, primary: str = "", turn: int = 0, more: str = "") -> Fleet:
    return replace(parse(TWO + more), promoted=Promoted(primary, turn))


def parts(of: Fleet, host: str) -> tuple[Part, ...]:
    return describe(place(of, host), ssh_ports=(22,))


def jobs(of: Fleet, host: str) -> dict[str, str]:
    return {job.name: job.script.reveal() for part in parts(of, host) for job in part.jobs}


def read_config(host: str, home: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    files = {file.path: file for part in parts(fleet(), host) for file in part.files}
    parser.read_string(reveal(files[Path(config_path(home))].content))
    return parser


@pytest.mark.parametrize(
    ("home", "host", "section", "key"),
    [
        ("server", "sched1", "database", "sql_alchemy_conn"),
        ("server", "web1", "database", "sql_alchemy_conn"),
    ],
)
def test_clients_know_every_database_host_and_take_the_one_that_takes_writes(
    home: str, host: str, section: str, key: str
) -> None:
    url = make_url(read_config(host, home)[section][key].removeprefix("db+"))
    _, words = psycopg2.dialect().create_connect_args(url)
    assert (words["host"].split(","), words["port"].split(",")) == (["10.0.0.33", "10.0.0.41"], ["6432", "6432"])
    assert (words["target_session_attrs"], words["connect_timeout"]) == ("read-write", "3")


@pytest.mark.parametrize(("host", "name"), [("sched1", "celery"), ("cpu1", "celery-cpu")])
def test_results_find_it_in_the_same_way(host: str, name: str) -> None:
    files = {file.path.name: file for part in parts(fleet(), host) for file in part.files}
    url = make_url(json.loads(reveal(files[f"{name}.json"].content))["result_backend"].removeprefix("db+"))
    _, words = psycopg2.dialect().create_connect_args(url)
    assert (words["host"].split(","), words["target_session_attrs"]) == (["10.0.0.33", "10.0.0.41"], "read-write")


def test_asynchronous_clients_do_too() -> None:
    _, words = asyncpg.dialect().create_connect_args(
        make_url(read_config("sched1", "server")["database"]["sql_alchemy_conn_async"])
    )
    assert (words["host"], words["port"]) == (["10.0.0.33", "10.0.0.41"], [6432, 6432])
    assert words["target_session_attrs"] == "read-write"
    assert read_config("sched1", "server")["database"]["sql_alchemy_connect_args_async"] == (
        "airfleet_provider.network.keepalive.ASYNC_CONNECT"
    )


@pytest.mark.parametrize("host", HOSTS)
def test_a_promotion_restarts_nothing(host: str) -> None:
    first, moved = (
        {one.unit: systemd_units.fingerprint(one).content for part in parts(of, host) for one in part.services}
        for of in (fleet(), fleet(primary="data1", turn=1))
    )
    assert first == moved


def test_a_promotion_moves_the_roles() -> None:
    assert fleet().primary.name == "data2"
    assert "postgresql-copy" in jobs(fleet(), "data1")
    moved = fleet(primary="data1", turn=1)
    assert "postgresql-copy" in jobs(moved, "data2")
    assert "postgresql-roles" in jobs(moved, "data1")
    assert jobs(fleet(primary="data2", turn=2), "data1")["postgresql-copy"] != jobs(fleet(), "data1")["postgresql-copy"]


def test_a_commit_waits_for_a_replica_where_that_is_asked_for_and_only_once_there_is_one() -> None:
    assert "synchronous_standby_names = '';" in jobs(fleet(), "data2")["postgresql-sync"]
    script = jobs(fleet(more="replication: synchronous\n"), "data2")["postgresql-sync"]
    assert script.index("pg_stat_replication") < script.index("synchronous_standby_names = 'ANY 1 (*)'")


@pytest.mark.parametrize(
    ("peer", "own", "is_replica", "is_synchronous", "begins"),
    [
        ("1", "1", False, True, True),
        ("2", "1", False, True, False),  # another has been promoted
        ("2", "1", True, True, True),  # a replica is no primary
        ("", "1", False, False, True),
        ("", "1", False, True, False),  # it could confirm nothing
        ("1", "2", False, True, True),
    ],
)
def test_a_server_begins_unless_it_may_be_a_second_primary(
    tmp_path: Path, peer: str, own: str, is_replica: bool, is_synchronous: bool, begins: bool
) -> None:
    binaries, data = tmp_path / "bin", tmp_path / "data"
    binaries.mkdir()
    data.mkdir()
    answers = {"psql": f"echo '7|{peer}|0/1|'" if peer else "exit 2"}
    answers["pg_controldata"] = f'echo "Latest checkpoint\'s TimeLineID:       {own}"'
    for name, line in answers.items():
        (binaries / name).write_text(f"#!/bin/sh\n{line}\n")
        (binaries / name).chmod(0o755)
    if is_replica:
        (data / "standby.signal").touch()
    names = "ANY 1 (*)" if is_synchronous else ""
    (data / "postgresql.auto.conf").write_text(f"synchronous_standby_names = '{names}'\n")
    text = replication.render_guard(place(fleet(), "data1"))
    script = tmp_path / "guard.sh"
    script.write_text(
        text.replace("/usr/lib/postgresql/15/bin", str(binaries)).replace(str(replication.DATA), str(data))
    )
    done = subprocess.run(["bash", script, "echo", "begun"], capture_output=True, text=True, check=False)
    assert (done.stdout == "begun\n") is begins
    assert begins or "database host" in done.stderr or "promoted" in done.stderr
