"""Servers of which a fleet has several: two agents, two RabbitMQ nodes, three of etcd; and a PostgreSQL.

The agents are those of two hosts, so one of them tells what happens to the other. Real Prometheus and Alertmanager read
the rules of `quick_rules`, as on the other beds. No Airflow runs. Its tables are there, and hardly a row in them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any

import bcrypt
import httpx
import psutil
import psycopg
import yaml

import airflow_tables
import brokers
import servers
from airfleet.components.model import reveal
from airfleet.components.monitoring import alertmanager, private_servers
from airfleet.components.monitoring.private_servers import MonitorNode
from airfleet.runners.local import launch, ports
from airfleet.runners.local.prometheus import find_programs
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import environment
from airfleet_provider.contract.notification_policy import (
    MailEncryption,
    NotificationPolicy,
    Receiver,
    ReceiverType,
    derive_webhook_token,
)
from airfleet_provider.contract.openlineage_policy import BackendKind, LineageBackend, OpenLineagePolicy
from airfleet_provider.contract.tracing_policy import TracingPolicy
from alert_drills import quick_rules
from alert_drills.bed import Bed
from alert_drills.collector import IdleCollector
from alert_drills.local_bed import find
from deadline import COMMAND_S, PATIENCE_S
from living import send
from places import parse
from receivers import HttpReceiver, MailReceiver, mail_to
from servers import as_nobody, give_away

HOSTS = ("one", "two")
VOTERS = 3
PASSWORD, JWT_SECRET = Secret("only-for-drills"), Secret("only-for-drills-too")
ARCHIVE = {"every_hours": 1, "retention": 1, "budget": 1}
REFUSED = (httpx.HTTPError, ValueError)


class ServersBed(Bed):
    """The servers with what watches them. `processes` are those that drills stop, by name."""

    def __init__(self, folder: Path, server: servers.Server, mail: MailReceiver, http: HttpReceiver) -> None:
        super().__init__(mail, http)
        self.folder, self.server = folder, server
        self.collector = IdleCollector(ports.find_free())
        self.processes: dict[str, int] = {}
        self.prometheus_url = ""
        self.replica_port = ports.find_free()

    def describe(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{one.name}: {one.read_text(errors='replace')[-300:]}" for one in logs)

    def ask_prometheus(self, path: str) -> Any:  # noqa: ANN401 - JSON
        login = (private_servers.USER, PASSWORD.reveal())
        try:
            url = f"{self.prometheus_url}/api/v1/{path}"
            return httpx.get(url, auth=login, timeout=5, trust_env=False).raise_for_status().json()["data"]
        except REFUSED:
            return None

    def connect(self, **options: Any) -> psycopg.Connection:  # noqa: ANN401 - as psycopg takes them
        words: dict[str, Any] = {"autocommit": True, "connect_timeout": 10, **options}
        return psycopg.connect(self.server.dsn, **words)

    def execute(self, *statements: str) -> None:
        """Run statements as the superuser."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    @contextlib.contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Stop servers with SIGSTOP, and let them go on."""
        tops = [psutil.Process(self.processes[name]) for name in names]
        found = [one for top in tops for one in (top, *top.children(recursive=True))]
        for one in found:
            one.suspend()
        try:
            yield
        finally:
            for one in reversed(found):
                one.resume()

    @property
    def store(self) -> Path:
        """The folder of archived runs."""
        return self.folder / "archive"

    def archive(self, action: str, **options: object) -> list[str]:
        """Return the command of the archive of runs, as the archiver and people call it."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "airflow", "airfleet", "archive", action, f"--store={self.store}", *words]

    def keep_archive(self) -> None:
        """Start the archiver, or start it again. It archives at once if an archive is due."""
        if pid := self.processes.get("archiver"):
            send([*psutil.Process(pid).children(recursive=True), psutil.Process(pid)], signal.SIGKILL)
        self.start("archiver", self.archive("keep", **ARCHIVE), self.airflow)

    @property
    def airflow(self) -> dict[str, str]:
        """The environment of Airflow's commands."""
        url = self.server.dsn.replace("postgresql:", "postgresql+psycopg2:")
        home = {"AIRFLOW_HOME": str(self.folder / "airflow"), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url}
        return {**home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}

    def run_airflow(self, command: Sequence[str]) -> None:
        """Run a command of Airflow to its end."""
        subprocess.run(command, env={**os.environ, **self.airflow}, check=True, cwd="/", timeout=COMMAND_S)

    def copy_server(self) -> None:
        """Make a replica of the server, which is not started yet."""
        folder = self.folder / "replica"
        folder.mkdir(mode=0o700)
        give_away(folder)
        words = ["-h", "127.0.0.1", "-p", str(self.server.port), "-U", "postgres", "-D", str(folder), "-R"]
        program = str(launch.find_postgres() / "pg_basebackup")
        subprocess.run([program, *words, "-X", "stream", "-c", "fast"], check=True, cwd="/", **as_nobody())

    def start_replica(self) -> None:
        words = ["-D", str(self.folder / "replica"), "-p", str(self.replica_port), "-h", "127.0.0.1", "-k", ""]
        self.start("replica", [str(launch.find_postgres() / "postgres"), *words], **as_nobody())

    def server_streams(self) -> bool:
        return bool(self.server.query("SELECT pid FROM pg_stat_replication WHERE state = 'streaming'"))

    def stop(self, name: str) -> None:
        """Stop a server in order."""
        process = psutil.Process(self.processes[name])
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)

    def start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] = MappingProxyType({}),
        **user: Any,  # noqa: ANN401
    ) -> None:
        """Start a server that ends with the bed. `user` are the arguments of `subprocess` about its user."""
        with (self.folder / f"{name}.log").open("ab") as log:
            own = {**os.environ, **env}
            process = subprocess.Popen(command, env=own, stdout=log, stderr=log, cwd="/", **user)
        self.processes[name] = process.pid

        def end() -> None:
            process.kill()
            process.wait(PATIENCE_S)

        self.kept.callback(end)


@contextlib.contextmanager
def make(folder: Path) -> Iterator[ServersBed]:
    """Yield healthy servers that everything watches. Their end ends everything."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(airflow_tables.serve())
        mail, http = MailReceiver(folder, is_encrypted=False), HttpReceiver()
        for one in (mail, http):
            one.start()
            stack.callback(one.stop)
        bed = ServersBed(folder, server, mail, http)
        stack.callback(bed.kept.close)
        stack.callback(bed.watcher.stop)
        bed.execute(
            "CREATE ROLE airflow",
            "CREATE TABLE IF NOT EXISTS alembic_version AS SELECT 'drill' AS version_num",
            "INSERT INTO log_template (filename, elasticsearch_id, created_at) VALUES ('f', 'e', now())",
        )
        bed.collector.start()
        stack.callback(bed.collector.stop)
        # Before the agents: they would see that a replica is missing.
        bed.copy_server()
        bed.start_replica()
        bed.wait(bed.server_streams, "a replica that streams")
        agents = dict(zip(HOSTS, ports.find_several(len(HOSTS)), strict=True))
        for host, port in agents.items():
            _start_agents(bed, host, port)
        nodes = dict(zip(HOSTS, ports.find_several(len(HOSTS)), strict=True))
        for number, (host, port) in enumerate(nodes.items()):
            broker = stack.enter_context(brokers.serve(number=number, metrics_port=port))
            bed.processes[f"rabbitmq-{host}"] = broker.pid
        voters = _start_voters(bed)
        jobs: dict[str, Sequence[int]] = {
            "agents": list(agents.values()),
            "rabbitmq": list(nodes.values()),
            "etcd": voters,
        }
        # Patroni runs nowhere here. Prometheus only counts its targets: there are as many as database hosts.
        jobs["patroni"] = [stack.enter_context(_serve_nothing()) for _ in HOSTS]
        _start_watchers(bed, jobs)
        bed.keep_archive()
        bed.watcher.start()
        targets = sum(map(len, jobs.values())) + 2
        bed.wait(lambda: bed.query("count(up == 1)") == targets, "every target")
        bed.wait(lambda: bed.query("airfleet_replication_lag_bytes") is not None, "the facts of the agents")
        yield bed


@contextlib.contextmanager
def _serve_nothing() -> Iterator[int]:
    """Yield the port of a server with metrics, of which there are none."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _HasNothing)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


class _HasNothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
        pass


def _start_agents(bed: ServersBed, host: str, port: int) -> None:
    hook = Receiver("hook", ReceiverType.WEBHOOK, url=f"{bed.watcher.http.url}/hook")
    mail = replace(mail_to(bed.watcher.mail), login="", secret="", encryption=MailEncryption.NONE)
    policy = NotificationPolicy(receivers=(mail, hook), webhook_tokens=(derive_webhook_token(JWT_SECRET.reveal()),))
    collector = f"http://127.0.0.1:{bed.collector.port}"
    config = {
        "host": host,
        "database": {"host": "127.0.0.1", "port": bed.server.port, "user": "postgres", "dbname": "postgres"},
        "server": {"address": "127.0.0.1", "port": port},
        "metrics": {},
        "notifications": policy.to_json(),
        "tracing": TracingPolicy(collector).to_json(),
        "openlineage": OpenLineagePolicy((LineageBackend("marquez", BackendKind.MARQUEZ, collector),)).to_json(),
    }
    path = bed.folder / f"agents-{host}.json"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "airfleet_provider.agents"]
    bed.start(f"agents-{host}", command, {environment.AGENTS: str(path)})


def _start_voters(bed: ServersBed) -> Sequence[int]:
    """Start an etcd of three nodes, and return the ports of their metrics."""
    clients, peers, metrics = (ports.find_several(3 * VOTERS)[place::3] for place in range(3))
    cluster = ",".join(f"voter{number}=http://127.0.0.1:{port}" for number, port in enumerate(peers))
    for number in range(VOTERS):
        client, peer = (f"http://127.0.0.1:{listed[number]}" for listed in (clients, peers))
        words = ["--name", f"voter{number}", "--data-dir", str(bed.folder / f"voter{number}")]
        words += ["--listen-client-urls", client, "--advertise-client-urls", client]
        words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster]
        words += ["--listen-metrics-urls", f"http://127.0.0.1:{metrics[number]}"]
        bed.start(f"voter{number}", [find("etcd"), *words])
    return metrics


def _start_watchers(bed: ServersBed, jobs: Mapping[str, Sequence[int]]) -> None:
    """Start Prometheus and Alertmanager, as `up --monitor` does, with the targets of several hosts."""
    programs = find_programs()
    first, second = ports.find_several(2)
    hashed = bcrypt.hashpw(PASSWORD.reveal().encode(), bcrypt.gensalt(4)).decode()
    place = bed.folder / "monitor"
    node = MonitorNode(place, programs.prometheus, programs.alertmanager, first, second, PASSWORD, hashed)
    component = private_servers.describe(
        parse(f"name: drills\narchive: {json.dumps(ARCHIVE)}\n"), node, jobs["agents"][0], JWT_SECRET
    )
    for file in component.files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(reveal(file.content))
    for path in (place / "rules").iterdir():
        path.write_text(quick_rules.quicken(path.read_text()))
    config = yaml.safe_load((place / "prometheus.yml").read_text())
    config["global"] |= dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "2s")
    known = {one["job_name"]: one for one in config["scrape_configs"]}
    for job, listed in jobs.items():
        names = HOSTS if len(listed) == len(HOSTS) else tuple(f"voter{number}" for number in range(len(listed)))
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"host": host}}
            for host, port in zip(names, listed, strict=True)
        ]
        known[job] = {**known.get(job, {"job_name": job}), "static_configs": targets}
    config["scrape_configs"] = list(known.values())
    (place / "prometheus.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    urls = [f"http://127.0.0.1:{port}" for port in jobs["agents"]]
    (place / "alertmanager.yml").write_text(alertmanager.render_config(urls, place / "token"))
    for process in component.processes:
        bed.start(process.name, [reveal(word) for word in process.commands[0]])
    bed.prometheus_url = component.processes[-1].url
