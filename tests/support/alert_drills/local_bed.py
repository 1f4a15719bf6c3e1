"""The platform that is broken: `airfleet up --monitor`, exporters as on hosts, and receivers of notifications.

Prometheus reads the rules of `quick_rules`. Beside what `up --monitor` scrapes, it scrapes real exporters of the
machine, of PostgreSQL and of HAProxy, under the names of jobs that a fleet has.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import yaml

import authorities
from airfleet.components.monitoring import private_servers
from airfleet.components.monitoring.rule_files import Expiry
from airfleet.runners.local import ports
from airfleet.spec import load
from alert_drills import project, quick_rules
from alert_drills.bed import Bed
from deadline import PATIENCE_S
from fleets import Platform, end_everything
from living import send
from receivers import HttpReceiver, MailReceiver

HOST = "drilled"
# What `up --monitor` scrapes: agents, log agent, RabbitMQ and its queues, Prometheus, Alertmanager.
TARGETS = 6
NODE, POSTGRES, PROXY = "node", "postgres", "proxy"
HAPROXY = """\
global
  log stdout format raw daemon notice
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
  timeout check 1s
  default-server inter 1s fall 2 rise 1
frontend tasks
  bind 127.0.0.1:{port}
  default_backend execution
backend execution
  option httpchk GET /execution/health
  server web1 {upstream} check
frontend metrics
  bind 127.0.0.1:{metrics}
  http-request use-service prometheus-exporter
"""


class LocalBed(Bed):
    """The platform with what watches it. `folder` is for files of drills."""

    def __init__(
        self, platform: Platform, folder: Path, mail: MailReceiver, http: HttpReceiver, service_port: int = 0
    ) -> None:
        super().__init__(mail, http)
        self.platform = platform
        self.folder = folder
        self.service_port = service_port
        self.proxy_port = 0
        self.exporters: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._rules = threading.Lock()

    def describe(self) -> str:
        return self.platform.describe()

    def ask_prometheus(self, path: str) -> Any:  # noqa: ANN401 - JSON
        login = (private_servers.USER, (self.secrets / "monitor_password").read_text().strip())
        try:
            url = f"{self._find('prometheus').url}/api/v1/{path}"
            return (
                httpx.get(url, auth=login, timeout=5, trust_env=False, verify=authorities.read())
                .raise_for_status()
                .json()["data"]
            )
        except (httpx.HTTPError, ValueError, AssertionError, StopIteration):
            return None

    # What runs.

    @property
    def secrets(self) -> Path:
        return self.platform.state.secrets

    @property
    def monitor(self) -> Path:
        """The folder with the files of Prometheus and Alertmanager."""
        return self.platform.state.root / "prometheus"

    def _find(self, name: str) -> Any:  # noqa: ANN401 - a process of the snapshot
        snapshot = self.platform.state.read_snapshot()
        assert snapshot, "no platform runs"
        return next(one for one in snapshot.processes if one.name == name)

    @property
    def schedulers(self) -> list[str]:
        """The names of the components that are schedulers."""
        snapshot = self.platform.state.read_snapshot()
        assert snapshot, "no platform runs"
        return [one.name for one in snapshot.processes if one.name.startswith("sched")]

    def find_active_scheduler(self) -> tuple[str, int]:
        """Return the name of the active scheduler and the number of its term; no name while there is none."""
        statement = (
            "SELECT coalesce((SELECT name FROM airfleet.seat WHERE state = 'active'"
            " ORDER BY seen_at DESC LIMIT 1), ''), epoch FROM airfleet.lease WHERE name = 'scheduler'"
        )
        with self.connect() as connection:
            [row] = connection.execute(statement).fetchall()
        return str(row[0]), int(row[1])

    def list_family(self, name: str) -> list[psutil.Process]:
        """Return the processes of a component, children first; none while it is being restarted."""
        try:
            top = psutil.Process(self.platform.pid(name) or 0)
            return [*reversed(top.children(recursive=True)), top] if top.pid else []
        except psutil.NoSuchProcess:
            return []

    def signal(self, name: str, number: signal.Signals) -> None:
        send(self.list_family(name), number)

    @contextlib.contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Stop components with SIGSTOP, and let them go on. The supervisor kills one that hangs for 90 s."""
        found = [one for name in names for one in self.list_family(name)]
        assert found, names
        send(reversed(found), signal.SIGSTOP)
        try:
            yield
        finally:
            send(found, signal.SIGCONT)

    @contextlib.contextmanager
    def kept_down(self, name: str) -> Iterator[None]:
        """Kill a component again and again, as soon as the supervisor has started it."""
        stopping = threading.Event()

        def kill() -> None:
            while not stopping.wait(0.05):
                self.signal(name, signal.SIGKILL)

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()

    # The database.

    def connect(self, *, superuser: bool = True, **options: Any) -> psycopg.Connection:  # noqa: ANN401
        dsn = self.platform.state.read_dsn()
        assert dsn
        words: dict[str, Any] = {"autocommit": True, "connect_timeout": 10, **options}
        if superuser:
            password = (self.secrets / "postgres_superuser").read_text().strip()
            words |= {"user": "postgres", "password": password}
        return psycopg.connect(dsn.reveal(), **words)

    def execute(self, *statements: str) -> None:
        """Run statements as the superuser in the metadata database."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def find_data(self) -> Path:
        """Return the folder with the data of PostgreSQL."""
        with self.connect() as connection:
            [folder] = connection.execute("SHOW data_directory").fetchone() or ("",)
        return Path(folder)

    # Prometheus.

    def write_rules(self, expiries: Iterable[Expiry] = (), backup_age_s: int | None = None) -> None:
        """Give Prometheus rules with these limits."""
        fleet = load.read(self.platform.project, cpus=1)
        with self._rules:
            for name, text in quick_rules.render(fleet, expiries, backup_age_s).items():
                (self.monitor / "rules" / name).write_text(text)
            self.reload_prometheus()

    def reload_prometheus(self) -> None:
        os.kill(self._find("prometheus").pid, signal.SIGHUP)

    def scrape(self) -> None:
        """Start the exporters, and let Prometheus scrape all every two seconds."""
        path = self.monitor / "prometheus.yml"
        text = re.sub(r"((?:interval|timeout): )10s$", r"\g<1>2s", path.read_text(), flags=re.MULTILINE)
        config = yaml.safe_load(text)
        for job, port in self._start_exporters().items():
            targets = {"targets": [f"127.0.0.1:{port}"], "labels": {"host": HOST}}
            config["scrape_configs"].append({"job_name": job, "static_configs": [targets]})
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    def _start_exporters(self) -> dict[str, int]:
        node, postgres, metrics, self.proxy_port = ports.find_several(4)
        dsn = self.platform.state.read_dsn()
        assert dsn
        address = re.sub(r"^postgresql\+?\w*://", "postgresql://", dsn.reveal().partition("?")[0]) + "?sslmode=disable"
        upstream = self._find("execution-api").url.removeprefix("http://").partition("/")[0]
        config = self.folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=self.proxy_port, metrics=metrics, upstream=upstream))
        self._commands = {
            NODE: ([find("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{node}"], {}),
            POSTGRES: (
                [find("prometheus-postgres-exporter"), f"--web.listen-address=127.0.0.1:{postgres}"],
                {"DATA_SOURCE_NAME": address},
            ),
            PROXY: ([find("haproxy"), "-db", "-f", str(config)], {}),
        }
        for name in self._commands:
            self.start_exporter(name)
        return {NODE: node, POSTGRES: postgres, PROXY: metrics}

    def start_exporter(self, name: str) -> None:
        command, environment = self._commands[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.exporters[name] = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=log, stderr=log, cwd="/"
            )

    def stop_exporter(self, name: str) -> None:
        self.exporters[name].terminate()
        self.exporters[name].wait(PATIENCE_S)


def find(program: str) -> str:
    """Return the path of a program.

    Raises:
        SystemExit: It is not installed.
    """
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        raise SystemExit(f"{program} is not installed: drills of alerts need it")
    return path


@contextlib.contextmanager
def make(folder: Path) -> Iterator[LocalBed]:
    """Yield a healthy platform that everything watches. Its end ends everything."""
    mail, http = MailReceiver(folder, is_encrypted=False), HttpReceiver()
    mail.start()
    http.start()
    platform = Platform(folder / "project", ports.find_free())
    bed = LocalBed(platform, folder, mail, http, ports.find_free())
    files = project.list_files(api=platform.port, mail=mail.port, hook=f"{http.url}/hook", service=bed.service_port)
    for name, text in files.items():
        path = platform.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    try:
        platform.up("--monitor")
        platform.wait_healthy()
        bed.scrape()
        platform.airfleet("db", "backup")
        bed.write_rules(backup_age_s=26 * 3600)
        bed.watcher.start()
        bed.wait(lambda: bed.query("airfleet:scheduler:available") == 1, "the rules")
        bed.wait(lambda: bed.query("count(up == 1)") == len(bed.exporters) + TARGETS, "every target")
        for dag in ("quick", "fails", "holds", "calls", "one0", f"many{project.MANY - 1}"):
            bed.wait(functools.partial(platform.knows, dag), dag)
        yield bed
    finally:
        bed.watcher.stop()
        bed.kept.close()
        for process in bed.exporters.values():
            process.kill()
        platform.airfleet("down", "--now", check=False)
        end_everything(platform)
        mail.stop()
        http.stop()
