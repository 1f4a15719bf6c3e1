"""The parts of each host, as data: only the programs, secrets and ports that its roles need."""

from __future__ import annotations

import base64
import configparser
import json
import re
import subprocess
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest
from sqlalchemy import make_url

from airfleet.components.host_model import OpenPort, Stage
from airfleet.components.hosts import common, host_parts
from airfleet.components.model import reveal
from airfleet.components.postgresql import pgbouncer
from airfleet.components.postgresql import server as postgresql
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.components.signing import derive_private
from airfleet.runners.fleet import hardening
from airfleet.runners.fleet.plan import systemd_units
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import environment
from airfleet_provider.execution_api import fast_path
from places import CREDENTIALS, NINE, SECRETS, config_path, desired, parse, parts, place, with_setting

HOSTS = [host.name for host in parse().hosts]


def text_of(name: str, text: str = NINE) -> str:
    """Return the text of all files and jobs of a host."""
    want = desired(name, text)
    scripts = [decode(job.script.reveal()) for part in want.parts for job in part.jobs]
    return "\n".join([*(reveal(file.content) for file in (*want.files, *want.early)), *scripts])


def decode(script: str) -> str:
    """Return a script with the decoded text in place of its base64."""
    return re.sub(
        r"<<'END_OF_INPUT'\n(.*?)\nEND_OF_INPUT",
        lambda match: base64.b64decode(match[1]).decode(),
        script,
        flags=re.DOTALL,
    )


def secrets_on(name: str) -> set[str]:
    text = text_of(name)
    return {secret for secret in SECRETS if f"s3cret-{secret}" in text}


def config_of(name: str, home: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    files = {str(file.path): file for file in desired(name).files}
    parser.read_string(reveal(files[config_path(home)].content))
    return parser


def services_on(name: str, text: str = NINE) -> set[str]:
    return {service.name for service in desired(name, text).services}


@pytest.mark.parametrize(
    ("host", "services"),
    [
        ("web1", {"api-server", "execution-api", "balancer", "tls-proxy"}),
        ("web2", {"api-server", "execution-api", "tls-proxy"}),
        ("sched1", {"scheduler", "dag-processor", "triggerer", "triggerer-logs", "log-proxy", "releaser", "agents"}),
        ("cpu1", {"proxy", "log-proxy", "worker-logs", "worker-default", "worker-cpu"}),
        ("data1", {"postgresql", "pgbouncer", "backup", "postgres-exporter", "rabbitmq"}),
    ],
)
def test_a_host_runs_what_its_roles_say(host: str, services: set[str]) -> None:
    assert services_on(host) == services | {"node-exporter", "metrics-proxy", "firewall"}


def test_scheduler_hosts_archive_old_runs_by_themselves_where_fleet_yaml_says_how_often() -> None:
    text = f"{NINE}archive: {{store: /mnt/runs, every_hours: 6}}\n"
    [service] = [one for one in desired("sched1", text).services if one.name == "archiver"]
    assert "/mnt/runs" in map(str, service.writes)
    # The archive's lock is one of a session, which a pool of transactions would lose.
    assert any(path.name == "session.env" for path in service.env_files)
    assert "archiver" not in services_on("web1", text)
    assert "archiver" not in services_on("sched1", f"{NINE}archive: {{store: /mnt/runs}}\n")


def test_one_host_runs_it_all() -> None:
    one = services_on("one", "hosts: {one: {address: 10.0.0.1}}")
    assert {"api-server", "scheduler", "worker-default", "postgresql", "rabbitmq", "balancer"} <= one


def link_of(host: str, name: str) -> dict[str, object]:
    """Return the Celery file that the environment of a service names."""
    want = desired(host)
    service = next(one for one in want.services if one.name == name)
    file = next(one for one in want.files if str(one.path) == service.env["AIRFLEET_CELERY"])
    assert file in service.files, "with another login it starts anew"
    assert file.mode == 0o640
    found: dict[str, object] = json.loads(reveal(file.content))
    return found


@pytest.mark.parametrize(
    ("host", "pools"), [("cpu1", {"pool-default", "pool-cpu"}), ("memory1", {"pool-memory"}), ("io1", {"pool-io"})]
)
def test_a_worker_has_its_own_pools_logins_and_no_way_to_the_metadata_database(host: str, pools: set[str]) -> None:
    # The key of its certificate is for HAProxy alone.
    assert secrets_on(host) == {"writer", "key", "tls", *pools}
    config = config_of(host, "worker")
    assert not config.has_option("database", "sql_alchemy_conn")
    assert config["core"]["execution_api_server_url"] == "http://127.0.0.1:8882/execution/"
    assert not {"broker_url", "result_backend"} & set(config["celery"])
    for pool in pools:
        link = link_of(host, f"worker-{pool.removeprefix('pool-')}")
        assert make_url(str(link["broker_url"])).username == pool
        results = make_url(str(link["result_backend"]).removeprefix("db+"))
        assert (results.database, results.username) == ("airfleet_results", "airfleet_results_writer")
        assert link["queues"] == [pool.removeprefix("pool-")]
        assert "signing_key" not in link


def test_only_schedulers_can_publish_and_sign() -> None:
    private = derive_private(CREDENTIALS.signing).reveal()
    assert [host for host in HOSTS if private in text_of(host)] == ["sched1", "sched2"]
    assert not any("signing" in secrets_on(host) for host in HOSTS)
    link = link_of("sched1", "scheduler")
    assert make_url(str(link["broker_url"])).username == "publisher"
    assert [host for host in HOSTS if "publisher" in secrets_on(host)] == ["sched1", "sched2"]
    others = {service.name for service in desired("sched1").services if "AIRFLEET_CELERY" in service.env}
    assert others == {"scheduler"}


@pytest.mark.parametrize("host", ["web1", "web2"])
def test_a_web_host_has_no_login_but_the_pooler_s(host: str) -> None:
    assert not {"publisher", "reader", "writer", "signing"} & secrets_on(host)
    assert ":5432" not in "".join(reveal(file.content) for file in desired(host).files)


def test_on_a_host_that_does_everything_workers_still_read_a_file_of_their_own() -> None:
    want = desired("one", "hosts: {one: {address: 10.0.0.1}}")
    worker = next(service for service in want.services if service.name == "worker-default")
    server = next(file for file in want.files if str(file.path) == config_path("server"))
    assert (server.group, server.mode) == ("airfleet", 0o640)
    assert worker.user == "airfleet-worker"
    assert all("s3cret-airflow" not in reveal(file.content) for file in worker.files)


def test_secrets_are_where_they_are_needed_only() -> None:
    assert "writer" not in secrets_on("web1") | secrets_on("sched1")
    assert {"replication", "monitor", "cookie", "etcd", "etcd-root", "rest", "rewinder"} & (
        secrets_on("web1") | secrets_on("sched1") | secrets_on("cpu1")
    ) == set()
    assert "fernet" not in secrets_on("data1")
    assert "admin" in secrets_on("sched1")
    assert "admin" not in secrets_on("sched2")


@pytest.mark.parametrize("host", HOSTS)
def test_no_secret_is_readable_by_everybody_or_shown(host: str) -> None:
    want = desired(host)
    for file in want.files:
        if "s3cret" in reveal(file.content):
            assert file.is_secret, file.path
            assert file.mode & 0o007 == 0, file.path
    assert "s3cret" not in repr(want.parts)
    assert "s3cret" not in "".join(systemd_units.render(service) for service in want.services)


def firewall(name: str) -> str:
    return reveal(next(file for file in desired(name).files if file.path.name == "firewall.nft").content)


@pytest.mark.parametrize("host", HOSTS)
def test_doctor_finds_no_file_of_ours_that_everybody_may_read(host: str) -> None:
    script = (Path(hardening.__file__).parent / "look_at_hardening.sh").read_text()
    names = re.findall(r"-name '([^']+)'", script.partition("-perm")[0])
    [no_secrets] = re.findall(r"grep -Ev '([^']+)'", script)[:1]
    found = [
        path
        for path, mode in ((str(file.path), file.mode) for file in desired(host).files)
        if path.startswith("/etc/airfleet/") and any(fnmatch(Path(path).name, one) for one in names) and mode & 0o004
    ]
    assert [path for path in found if not re.search(no_secrets, path)] == []


def test_the_firewall_is_the_same_text_each_time() -> None:
    ports = [OpenPort(5432, ("10.0.0.1",), why) for why in ("leases", "reports", "replicas", "backups")]
    text = common.render_firewall(ports)
    assert [line.split('"')[1] for line in text.splitlines() if "5432" in line] == sorted(port.why for port in ports)


def test_the_firewall_opens_what_a_role_needs_and_for_whom() -> None:
    data = firewall("data1")
    assert "policy drop" in data
    assert 'tcp dport 22 accept comment "SSH"' in data
    # Everybody comes through PgBouncer, but for who holds a lease.
    assert "ip saddr { 10.0.0.21, 10.0.0.22 } tcp dport 5432 accept" in data
    clients = "{ 10.0.0.11, 10.0.0.12, 10.0.0.13, 10.0.0.21, 10.0.0.22, 10.0.0.31, 10.0.0.32, 10.0.0.33 }"
    assert f"ip saddr {clients} tcp dport 6432 accept" in data
    assert "ip saddr { 10.0.0.21, 10.0.0.22, 10.0.0.31, 10.0.0.32, 10.0.0.33 } tcp dport 5671 accept" in data
    assert "ip saddr 10.0.0.13 tcp dport 9101 accept" in data
    worker = firewall("cpu1")
    assert [line.split("dport ")[1].split()[0] for line in worker.splitlines() if "dport" in line] == [
        "22",
        "8793",
        "9101",
    ]


def test_only_the_balancer_is_open_to_everybody() -> None:
    for host in HOSTS:
        open_ = [port.number for part in parts(host) for port in part.ports if not port.sources]
        assert open_ == ([8080] if host == "web1" else []), host


def test_the_balancer_checks_every_web_host() -> None:
    config = text_of("web1")
    for server in ("127.0.0.1:8880", "10.0.0.12:8883", "10.0.0.13:8883"):
        assert f"{server} check" in config


def test_tls_is_the_balancer_s() -> None:
    config = text_of("web1", f"{NINE}tls: {{certificate: a.pem, key: a.key}}\n")
    assert "bind 10.0.0.11:8080 ssl crt /etc/airfleet/haproxy/fleet.pem" in config


def unit(host: str, service: str, text: str = NINE) -> str:
    return systemd_units.render(next(one for one in desired(host, text).services if one.name == service))


def test_a_pool_has_its_own_limits_and_tasks_are_not_killed_at_a_restart() -> None:
    cpu, memory, io = unit("cpu1", "worker-cpu"), unit("memory1", "worker-memory"), unit("io1", "worker-io")
    assert "CPUQuota=400%" in cpu
    assert f"MemoryMax={8 << 30}" in memory
    assert "IOWeight=50" in io
    assert "TasksMax=500" in io
    for text in (cpu, memory, io):
        assert "KillMode=mixed" in text
        assert "TimeoutStopSec=3600" in text
    assert "--queues cpu" in cpu
    assert "--concurrency 4" in cpu


def test_what_starts_tasks_comes_before_what_parses_and_archives() -> None:
    yielding = {
        one.name for part in parts("sched1") for one in part.services if "CPUWeight=" in systemd_units.render(one)
    }
    assert yielding == {"releaser", "dag-processor"}


def test_one_greedy_task_is_killed_and_not_its_whole_pool() -> None:
    for host, pool in (("memory1", "memory"), ("io1", "io")):  # with a limit of its own, or the host's
        assert "OOMPolicy=continue" in unit(host, f"worker-{pool}")


def test_a_pool_that_says_nothing_has_a_limit_of_processes_all_the_same() -> None:
    assert "TasksMax=3072" in unit("cpu1", "worker-cpu")  # of four tasks at once


def test_a_pool_waits_for_no_other_of_its_host_at_a_restart() -> None:
    """Tasks do not need a log server, which would stop only after the last of them has ended."""
    after = [line for line in unit("cpu1", "worker-cpu").splitlines() if line.startswith("After=")]
    assert "airfleet-proxy" in after[0]
    assert "logs" not in after[0]


def test_log_servers_listen_on_the_loopback_only_behind_what_ends_tls() -> None:
    assert "--host 127.0.0.1 --port 8795" in unit("io1", "worker-logs")
    assert "--host 127.0.0.1 --port 8796" in unit("sched1", "triggerer-logs")


@pytest.mark.parametrize("host", ["sched1", "io1"])
def test_every_host_that_starts_tasks_or_sends_them_knows_how_they_start(host: str) -> None:
    config = config_of(host, "worker" if host == "io1" else "server")
    assert set(json.loads(config["sdk"]["queue_to_coordinator"])) == {"default", "cpu", "memory", "io"}
    assert config["celery"]["celery_config_options"] == "airfleet_provider.executors.celery_config.CONFIG"


def test_another_concurrency_changes_one_unit_of_one_pool_and_what_the_agents_know_of_it() -> None:
    text = with_setting(NINE, "cpu: {concurrency: 4", "cpu: {concurrency: 5")
    changed = {
        (host, str(new.path))
        for host in HOSTS
        for old, new in zip(desired(host).files, desired(host, text).files, strict=True)
        if reveal(old.content) != reveal(new.content) and new.path.parent.name != "agents"
    }
    unit_of = "airfleet-worker-cpu.service"
    assert changed == {("cpu1", f"/etc/systemd/system/{unit_of}"), ("cpu1", f"/etc/airfleet/units/{unit_of}")}
    agents = next(file for file in desired("sched1", text).files if str(file.path) == "/etc/airfleet/agents/hosts.json")
    metrics = json.loads(reveal(agents.content))["metrics"]
    assert metrics["hosts"]["10.0.0.41"] == "data1"
    workers = {one["pool"]: one["slots"] for one in metrics["workers"]}
    hosts = sum("cpu" in host.pools for host in parse(text).hosts)
    assert workers["cpu"] == 5 * hosts


def test_the_database_is_sized_to_the_machine_and_archives() -> None:
    small = postgresql.read_settings(postgresql.render_config(place(parse(), "data1", memory=2 << 30)))
    large = postgresql.read_settings(postgresql.render_config(place(parse(), "data1", memory=64 << 30)))
    assert (small["shared_buffers"], large["shared_buffers"]) == ("128MB", "4096MB")
    assert small["archive_mode"] == "on"
    assert small["listen_addresses"] == "'127.0.0.1, 10.0.0.41'"


def test_several_database_hosts_let_each_other_in_to_copy_and_to_rewind() -> None:
    text = with_setting(NINE, "[web, monitor]", "[web, monitor, database]")
    access = postgresql.render_access(place(parse(text), "data1"))
    assert "hostssl replication +replicator 10.0.0.13/32 scram-sha-256" in access
    assert "hostssl postgres +rewinder 10.0.0.13/32 scram-sha-256" in access
    assert "replicator" not in postgresql.render_access(place(parse(), "data1"))


def test_three_brokers_make_one_cluster_and_clients_know_them_all() -> None:
    text = NINE.replace("roles: [scheduler]", "roles: [scheduler, broker]")
    config = rabbitmq.render_config(place(parse(text), "data1"), ("10.0.0.21", "10.0.0.22", "10.0.0.41"))
    assert "cluster_formation.classic_config.nodes.3 = rabbit@10.0.0.41" in config
    url = rabbitmq.url(place(parse(text), "cpu1"), "pool-cpu", CREDENTIALS.consumers["cpu"])
    assert url.reveal().count("amqps://pool-cpu:") == 3


def test_each_node_of_a_cluster_keeps_a_copy_of_every_queue() -> None:
    text = NINE.replace("roles: [scheduler]", "roles: [scheduler, broker]")
    for host, address in (("data1", "10.0.0.41"), ("sched1", "10.0.0.21")):
        (job,) = (job for part in parts(host, text) for job in part.jobs if job.name == "rabbitmq-copies")
        assert f"\nNODE=rabbit@{address}\n" in job.script.reveal()
        assert job.stage > Stage.STORES, "all nodes have started"
    assert "rabbitmq-copies" not in {job.name for part in parts("data1") for job in part.jobs}


def test_a_node_asks_again_for_a_copy_that_the_cluster_refused_while_another_node_joined(tmp_path: Path) -> None:
    """The tool is a stand-in: the refusal of a real cluster lasts for moments only."""
    text = NINE.replace("roles: [scheduler]", "roles: [scheduler, broker]")
    (job,) = (job for part in parts("sched1", text) for job in part.jobs if job.name == "rabbitmq-copies")
    tool, asked = tmp_path / "rabbitmq-queues", tmp_path / "asked"
    tool.write_text(
        f"""#!/bin/bash
case "$*" in
  *" grow "*) echo >> {asked}; [ "$(wc -l < {asked})" -gt 1 ] || {{ echo cluster_change_not_permitted >&2; exit 1; }} ;;
  *) [ "$(wc -l < {asked})" -lt 2 ] || echo "rabbit@10.0.0.21 follower" ;;
esac
"""
    )
    tool.chmod(0o755)
    script = re.sub(r"(?m)^TOOL=.*$", f"TOOL={tool}", job.script.reveal())
    done = subprocess.run(["bash"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, asked.read_text()) == (0, "\n\n"), done.stderr


def test_a_pool_s_login_reads_its_own_queues_and_does_nothing_else() -> None:
    body = json.loads(rabbitmq.render_definitions(place(parse(), "data1")))
    assert {queue["name"] for queue in body["queues"]} == {"default", "cpu", "memory", "io"}
    rights = {one["user"]: (one["configure"], one["write"], one["read"]) for one in body["permissions"]}
    assert rights.pop("publisher") == ("^$", r"^amq\.default$", "^$")
    assert rights == {f"pool-{pool}": ("^$", "^$", f"^({pool})$") for pool in ("default", "cpu", "memory", "io")}
    assert all(user["password_hash"] for user in body["users"])


def test_what_an_earlier_version_left_is_removed_after_everything_else_and_not_while_it_may_be_used() -> None:
    def jobs(former: Secret | None) -> dict[str, Stage]:
        where = place(parse(), "data1")
        where = replace(where, credentials=replace(CREDENTIALS, former_results=former))
        return {job.name: job.stage for part in host_parts.describe(where, ssh_ports=(22,)) for job in part.jobs}

    assert {name: stage for name, stage in jobs(None).items() if "former" in name} == {
        "rabbitmq-former": Stage.EDGE,
        "postgresql-former": Stage.EDGE,
    }
    assert not [name for name in jobs(Secret("old")) if "former" in name]


def test_workers_of_an_earlier_version_still_leave_their_results() -> None:
    where = replace(place(parse(), "data1"), credentials=replace(CREDENTIALS, former_results=Secret("old")))
    text = "".join(reveal(file.content) for file in pgbouncer.describe(where).files)
    assert '"celery" "old"' in text
    assert "dbname=celery " in text


def test_a_long_task_keeps_its_message_for_days() -> None:
    config = rabbitmq.render_config(place(parse(), "data1"), ("10.0.0.41",))
    assert "consumer_timeout = 604800000" in config


def test_the_pooler_is_not_the_user_whom_the_server_takes_for_its_superuser() -> None:
    want = desired("data1")
    pooler = next(service for service in want.services if service.name == "pgbouncer")
    [trusted] = [
        line.split()[2]
        for line in postgresql.render_access(place(parse(), "data1")).splitlines()
        if line.startswith("local all ")
    ]
    assert pooler.user != trusted
    assert pooler.user in want.users
    data = next(folder for folder in want.folders if folder.path == postgresql.DATA)
    assert (data.owner, data.mode) == (trusted, 0o700)
    passwords = next(file for file in pooler.files if file.path.name == "users.txt")
    assert (passwords.group, passwords.mode) == (pooler.user, 0o640)


def test_no_name_of_a_database_is_a_keyword_in_the_access_file() -> None:
    access = postgresql.render_access(place(parse(), "data1"))
    assert '"warehouse"' in access
    for line in access.splitlines():
        if "scram" in line and "warehouse" in line:
            assert line.split()[1] == '"airflow","airfleet_results","warehouse"'


@pytest.mark.parametrize("databases", [0, 1, 20])
def test_the_server_takes_what_all_pools_may_ask_of_it(databases: int) -> None:
    names = ", ".join(f"project{number}" for number in range(databases))
    text = NINE.replace("databases: [warehouse]", f"databases: [{names}]")
    fleet = parse(text)
    secrets = replace(CREDENTIALS.platform, databases={name: Secret("x") for name in fleet.databases})
    where = replace(place(fleet, "data1"), credentials=replace(CREDENTIALS, platform=secrets))
    settings = postgresql.read_settings(postgresql.render_config(where))
    pooler = next(file for file in pgbouncer.describe(where).files if file.path.name == "pgbouncer.ini")
    pools = sum(int(size) for size in re.findall(r"pool_size=(\d+)", reveal(pooler.content)))
    direct = 2 * 16  # each scheduler: its lease and a pool of 5 and 10 more
    assert int(settings["max_connections"]) >= pools + direct + 20


def test_every_web_host_has_sessions_for_the_calls_of_tasks_and_as_many_in_reserve() -> None:
    [calls] = [one for one in desired("web2").services if one.name == "execution-api"]
    name = calls.env[environment.CALLS_DATABASE]
    pooler = next(one for one in desired("data1").files if one.path.name == "pgbouncer.ini")
    [line] = re.findall(rf"^{name} = .*$", reveal(pooler.content), re.MULTILINE)
    hosts = len(parse().with_role("web"))
    assert line.endswith(f" dbname=airflow pool_mode=session pool_size={2 * fast_path.CONNECTIONS * hosts}")


def test_every_file_that_the_server_s_settings_name_is_written() -> None:
    [part] = [part for part in parts("data1") if part.name == "postgresql"]
    settings = next(file for file in part.files if file.path.name == "postgresql.conf").content
    named = set(re.findall(r"^(?:hba|ident)_file = '(.*)'$", str(settings), re.MULTILINE))
    assert len(named) == 2
    assert named <= {str(file.path) for file in part.files}
