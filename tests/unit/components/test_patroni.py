"""Two database hosts: everybody finds the primary, Patroni has what it needs, and a fail-over changes no plan."""

from __future__ import annotations

import configparser
import json
import re
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql import asyncpg, psycopg2
from sqlalchemy.engine import make_url

from airfleet.components.etcd import server as etcd
from airfleet.components.host_model import AUTHORITIES, Stage
from airfleet.components.model import reveal
from airfleet.components.postgresql import patroni, pgbouncer
from airfleet.components.postgresql.server import count_connections
from airfleet.runners.fleet.plan.systemd_units import render
from airfleet.spec.fleet import Fleet
from database_hosts import HOSTS, fleet, jobs, parts
from deadline import PATIENCE_S, wait_until
from places import NINE, config_path, parse


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


def read_patroni(of: Fleet, host: str) -> dict[str, Any]:
    [config] = [file for part in parts(of, host) for file in part.files if file.path == patroni.CONFIG]
    assert (config.mode, config.is_secret) == (0o640, True)
    body: dict[str, Any] = json.loads(reveal(config.content))
    return body


@pytest.mark.parametrize("host", HOSTS)
def test_a_fail_over_changes_nothing_that_a_host_should_be(host: str) -> None:
    """So that `plan` is empty after one, though nobody applied anything."""
    first, moved = (parts(of, host) for of in (fleet(), fleet(primary="data1")))
    assert first == moved


def test_one_database_host_needs_neither_patroni_nor_etcd() -> None:
    of = parse(NINE)
    assert of.voters == ()
    own = parts(of, "data1")
    assert {part.name for part in own}.isdisjoint({"etcd"})
    [server] = [one for part in own for one in part.services if one.name == "postgresql"]
    assert server.command[0].endswith("/bin/postgres")
    assert {port.number for part in own for port in part.ports}.isdisjoint({2379, 2380, 8008})


@pytest.mark.parametrize("mode", ["asynchronous", "synchronous"])
def test_times_are_such_that_a_primary_gives_up_before_another_is_promoted(mode: str) -> None:
    of = fleet(more=f"replication: {mode}\n")
    settings = json.loads(patroni.render_settings(of, count_connections(of)))
    assert settings["ttl"] >= settings["loop_wait"] + 2 * settings["retry_timeout"]
    assert settings["synchronous_mode"] is (mode == "synchronous")
    assert settings["postgresql"]["parameters"]["max_connections"] == count_connections(of)
    assert settings["retry_timeout"] * 1000 > etcd.ELECTION_MS, "a lost voter costs no primary its claim"


def test_only_the_first_database_host_makes_a_cluster_from_nothing() -> None:
    first, second = fleet().with_role("database")
    assert "bootstrap" in read_patroni(fleet(), first.name)
    assert "bootstrap" not in read_patroni(fleet(primary=second.name), second.name)


def test_patroni_runs_the_server_with_the_files_that_a_plain_one_has() -> None:
    config = read_patroni(fleet(), "data1")
    assert config["postgresql"]["custom_conf"] == "/etc/airfleet/postgresql/postgresql.conf"
    assert config["postgresql"]["parameters"]["hba_file"] == "/etc/airfleet/postgresql/pg_hba.conf"
    assert config["etcd3"]["hosts"] == ["10.0.0.41:2379", "10.0.0.11:2379", "10.0.0.12:2379"]
    assert config["restapi"]["listen"] == "10.0.0.41:8008"


def test_etcd_and_patroni_speak_tls_and_verify_the_other_side() -> None:
    config = read_patroni(fleet(), "data1")
    assert (config["etcd3"]["protocol"], config["etcd3"]["cacert"]) == ("https", str(AUTHORITIES))
    assert config["restapi"]["cafile"] == str(AUTHORITIES)
    paths = {str(file.path) for part in parts(fleet(), "data1") for file in part.files}
    assert {config["restapi"]["certfile"], config["restapi"]["keyfile"]} <= paths
    [server] = [one for part in parts(fleet(), "data1") for one in part.services if one.name == "etcd"]
    words = dict(zip(server.command, server.command[1:], strict=False))
    assert {words["--cert-file"], words["--key-file"], words["--peer-cert-file"], words["--peer-key-file"]} <= paths
    assert (words["--peer-trusted-ca-file"], "--peer-client-cert-auth" in words) == (str(AUTHORITIES), True)
    scripts = [jobs(fleet(), "data1")[name] for name in ("etcd-join", "etcd-content")]
    assert not [text for text in (*server.command, *scripts) if "http://" in text]
    assert all(f"AUTHORITIES={AUTHORITIES}" in script for script in scripts)


def render_program(of: Fleet, path: Path) -> str:
    [file] = [file for part in parts(of, "data1") for file in part.files if file.path == path]
    return reveal(file.content)


@pytest.mark.parametrize(
    ("action", "role", "answers", "is_marked"),
    [
        ("on_role_change", "primary", "ttf", True),  # the promotion has not ended yet
        ("on_start", "primary", "f", True),
        ("on_role_change", "replica", "f", False),  # it is to be a replica, and is none yet
        ("on_stop", "primary", "f", False),
        ("on_restart", "primary", "f", True),
        ("before_stop", "", "f", False),  # Patroni gives no role then
    ],
)
def test_a_host_is_marked_as_primary_once_its_server_takes_writes_and_only_then(
    tmp_path: Path, action: str, role: str, answers: str, is_marked: bool
) -> None:
    (tmp_path / "answers").write_text("\n".join(answers) + "\n")
    (tmp_path / "mark").touch()
    (tmp_path / "psql").write_text(f"#!/bin/sh\nhead -n 1 {tmp_path}/answers; sed -i 1d {tmp_path}/answers\n")
    (tmp_path / "psql").chmod(0o755)
    script = render_program(fleet(), patroni.MARK_PROGRAM).replace(str(patroni.MARK), str(tmp_path / "mark"))
    if is_marked:
        (tmp_path / "mark").unlink()
    words = ["sh", "-c", f"PATH={tmp_path}:$PATH\n{script}", "mark", action, role, "postgresql"]
    subprocess.run(words, check=True, timeout=PATIENCE_S)
    assert (tmp_path / "mark").exists() is is_marked


def test_a_mark_that_goes_before_the_server_stops_is_back_after_a_restart() -> None:
    """Patroni restarts a server without saying that it stops or starts."""
    postgresql = read_patroni(fleet(), "data1")["postgresql"]
    assert str(patroni.MARK_PROGRAM) in postgresql["before_stop"]
    assert postgresql["callbacks"]["on_restart"] == str(patroni.MARK_PROGRAM)


def test_a_promotion_that_takes_minutes_is_marked_at_its_end(tmp_path: Path) -> None:
    """Patroni runs the program once, when the promotion begins. Without the mark, nobody reaches the new primary."""
    mark = tmp_path / "mark"
    # Functions of the shell, which cost less than 700 programs.
    server = "looks=0; sleep() { looks=$(( looks + 1 )); }; psql() { [ $looks -lt 700 ] && echo t || echo f; }"
    script = render_program(fleet(), patroni.MARK_PROGRAM).replace(str(patroni.MARK), str(mark))
    words = ["sh", "-c", f"{server}\n{script}", "mark", "on_role_change", "primary", "postgresql"]
    subprocess.run(words, check=True, timeout=PATIENCE_S)
    assert mark.exists()


def test_pgbouncer_listens_only_while_its_server_takes_writes(tmp_path: Path) -> None:
    """Where nobody listens, clients try the next host. A PgBouncer without a server would refuse them for good."""
    mark, log = tmp_path / "mark", tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = render_program(fleet(), pgbouncer.FOLLOW).replace(str(patroni.MARK), str(mark))
        script = script.replace("PORT=5432", f"PORT={server.getsockname()[1]}")
        # As PgBouncer 1.23 with clients: it ends at the second SIGTERM.
        once = f"trap 'echo ended >> {log}; exit' TERM"
        child = f'trap "{once}" TERM; echo began >> {log}; '
        child += "while :; do sleep 0.05; done"
        log.touch()
        process = subprocess.Popen(["bash", "-c", script, "run", "bash", "-c", child])
        try:
            for is_marked, said in ((True, "began"), (False, "ended"), (True, "began")):
                assert log.read_text().split()[-1:] != [said]
                mark.touch() if is_marked else mark.unlink()
                wait_until(lambda: log.read_text().split()[-1:] == [said], said)  # noqa: B023 - awaited
            server.close()
            wait_until(lambda: log.read_text().split()[-1:] == ["ended"], "no server")
        finally:
            process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_what_patroni_reads_while_it_runs_restarts_nothing_and_the_servers_settings_do() -> None:
    [server] = [one for part in parts(fleet(), "data1") for one in part.services if one.name == "postgresql"]
    assert server.reload
    more = replace(fleet(), databases=tuple(f"base{number}" for number in range(12)))
    [other] = [one for part in parts(more, "data1") for one in part.services if one.name == "postgresql"]
    assert server.env != other.env, "it needs more connections"
    [plain] = [one for part in parts(parse(NINE), "data1") for one in part.services if one.name == "postgresql"]
    assert (server.unit, server.stop_signal) == (plain.unit, plain.stop_signal), (
        "the one is stopped by the other's unit"
    )


def test_etcd_is_asked_by_no_host_without_a_password() -> None:
    script = jobs(fleet(), "data1")["etcd-content"]
    assert "auth enable" in script
    assert "s3cret-etcd-root" in script
    assert "etcd-content" not in jobs(fleet(), "web1"), "one voter does it for all"
    assert read_patroni(fleet(), "data1")["etcd3"]["password"] == "s3cret-etcd"


def test_roles_are_made_where_writes_are_taken_and_awaited_elsewhere(tmp_path: Path) -> None:
    """The same script on every database host, so that a fail-over leaves nothing to do."""
    made = [
        job
        for host in ("data1", "data2")
        for part in parts(fleet(), host)
        for job in part.jobs
        if job.name == "postgresql-roles"
    ]
    assert made[0] == made[1]
    assert made[0].stage is Stage.DATABASES
    text = made[0].script.reveal()
    [mark] = re.findall(r"^MARK='(.*)'$", text, re.M)
    assert f"COMMENT ON ROLE airfleet_looker IS '\"'\"'{mark}'\"'\"';" in text


@pytest.mark.parametrize(
    ("is_replica", "is_done", "code", "writes"), [("f", "0", 0, True), ("t", "1", 0, False), ("t", "0", 1, False)]
)
def test_a_host_writes_or_waits_by_what_its_server_says(
    tmp_path: Path, is_replica: str, is_done: str, code: int, writes: bool
) -> None:
    psql = tmp_path / "psql"
    psql.write_text(
        f'#!/bin/sh\ncase "$*" in *in_recovery*) echo {is_replica};; *shdescription*) echo {is_done};;'
        f" *) cat > {tmp_path}/written;; esac\n"
    )
    psql.chmod(0o755)
    script = patroni.make_content("SELECT 1;", "mark").script.reveal()
    text = script.replace("psql -XAtq", f"{psql} -XAtq").replace("TIMES=3600", "TIMES=1")
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == code
    assert (tmp_path / "written").exists() is writes


@pytest.mark.parametrize(
    ("state", "was_led", "is_replica", "leader", "code"),
    [
        ("active", False, False, "", 0),
        ("inactive", "before it lost the role", False, "", 1),
        ("inactive", "before it lost the role", False, "| db1 | Leader |", 0),
        ("active", "before it lost the role", False, "", 0),
        ("failed", False, False, "", 1),  # an earlier version may have kept it from starting
        ("activating", False, False, "", 1),  # systemd starts it again and again
        ("failed", True, True, "", 0),
        ("active", False, True, "", 1),  # Patroni would promote it beside the primary
        ("active", False, True, "| db1 | Leader |", 0),
    ],
)
def test_data_is_taken_over_only_while_it_is_in_use_and_the_primary_s_first(
    tmp_path: Path, state: str, was_led: bool | str, is_replica: bool, leader: str, code: int
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("15\n")
    (data / "postgresql.auto.conf").write_text("synchronous_standby_names = 'ANY 1 (*)'\nwork_mem = '8MB'\n")
    if was_led:
        (data / "patroni.dynamic.json").touch()
    if is_replica:
        (data / "standby.signal").touch()
    for name, line in {
        "systemctl": f"echo {state}",
        "runuser": 'shift 3; exec "$@"',
        "patronictl": f"echo '{leader}'",
        "sleep": "true",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    adopted = tmp_path / "adopted.env"
    if was_led is True:
        adopted.touch()
    script = patroni.adopt().script.reveal().replace(str(patroni.ADOPTED), str(adopted))
    script = script.replace(str(patroni.DATA), str(data)).replace(str(patroni.CONTROL), str(tmp_path / "patronictl"))
    done = subprocess.run(
        ["sh", "-c", f"PATH={tmp_path}:$PATH\n{script}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == code, done.stderr
    assert adopted.exists() is (code == 0)
    if code == 0 and not was_led:
        assert (data / "postgresql.auto.conf").read_text() == "work_mem = '8MB'\n"


def test_systemd_starts_patroni_on_no_data_that_was_not_taken_over() -> None:
    """The unit is written before the data is looked at, and systemd starts again what it could not start before."""
    [server] = [one for part in parts(fleet(), "data1") for one in part.services if one.name == "postgresql"]
    assert f"EnvironmentFile={patroni.ADOPTED}\n" in render(server), "without this file the unit does not start"
