"""A fleet of four machines, with two of each component that can be redundant, and a Dag whose tasks log their times."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from airfleet.spec.addresses import join_port
from deadline import APPLY_S, COMMAND_S, REQUEST_S, wait_until
from machines import Bed, why_not
from machines.image import Recipe, ensure_image

AIRFLEET = [sys.executable, "-m", "airfleet"]
PACKAGES = (
    *("etcd-client", "etcd-server", "haproxy", "nftables", "pgbackrest", "pgbouncer", "postgresql-15"),
    *("prometheus-node-exporter", "prometheus-postgres-exporter", "rabbitmq-server"),
)
ROLES = {
    "db1": "roles: [database]",
    "app1": "roles: [web, balancer, broker, scheduler]",
    "app2": "roles: [web, scheduler, worker], pools: [default]",
    "db2": "roles: [database, worker], pools: [default]",
}
LEDGER = "/var/lib/airfleet/worker/ran"
DAG = f"""
import time
from pathlib import Path
from airflow.sdk import dag, task

@dag(schedule=None, is_paused_upon_creation=False, max_active_runs=100, default_args={{"retries": 2}})
def sleeper():
    @task
    def work(params=None):
        path = Path("{LEDGER}")
        with path.open("a") as file:
            file.write("began\\n")
        time.sleep(params["seconds"])
        with path.open("a") as file:
            file.write("ended\\n")
    work()

sleeper()
"""
# Seconds for an answer of the UI; a user would take more for an outage.
ANSWER_S = 30


@dataclass
class Four:
    """A project in its own folder, applied to the machines of a bed."""

    folder: Path
    bed: Bed
    roles: Mapping[str, str] = field(default_factory=lambda: ROLES)
    token: str = field(default="", init=False)

    def write(self, more: str = "") -> None:
        (self.folder / "dags").mkdir(exist_ok=True)
        (self.folder / "dags" / "sleeper.py").write_text(DAG)
        hosts = "".join(
            f"  {name}: {{address: {self.bed[name].address}, {roles}}}\n" for name, roles in self.roles.items()
        )
        (self.folder / "fleet.yaml").write_text(
            f"name: four\nssh: {{user: ops, key: {self.bed.layout.key}, known_hosts: {self.bed.layout.known_hosts}}}\n"
            f"hosts:\n{hosts}pools:\n  default: {{concurrency: 4}}\n{more}"
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        timeout_s = APPLY_S if words[0] == "apply" else COMMAND_S
        return subprocess.run(
            [*AIRFLEET, *words], capture_output=True, text=True, check=False, timeout=timeout_s, cwd=self.folder
        )

    def do(self, *words: str) -> str:
        """Run a command, which must succeed, and return its output."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def workers(self) -> dict[str, dict[str, Any]]:
        return {one["host"]: one for one in json.loads(self.run("workers", "list", "--json").stdout)["workers"]}

    @property
    def url(self) -> str:
        return f"http://{join_port(self.bed['app1'].address, 8080)}"

    def call(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 - JSON
        if not self.token:
            password = (self.folder / ".airfleet" / "secrets" / "admin_password").read_text()
            login = httpx.post(
                f"{self.url}/auth/token", json={"username": "admin", "password": password}, timeout=REQUEST_S
            )
            self.token = login.raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {self.token}"}
        done = httpx.request(method, f"{self.url}/api/v2{path}", headers=headers, timeout=REQUEST_S, **options)
        return done.raise_for_status().json()

    def trigger(self, seconds: float) -> str:
        body = {"logical_date": None, "conf": {"seconds": seconds}}
        return str(self.call("POST", "/dags/sleeper/dagRuns", json=body)["dag_run_id"])

    def state(self, run: str) -> str:
        return str(self.call("GET", f"/dags/sleeper/dagRuns/{run}")["state"])

    def wait(self, runs: list[str], timeout_s: float = 600) -> None:
        """Wait until all runs have succeeded."""
        for run in runs:
            ended = wait_until(
                lambda: (state := self.state(run)) in ("success", "failed") and state,  # noqa: B023 - awaited here
                f"the end of {run}",
                timeout_s=timeout_s,
                every_s=1,
                seen=lambda: self.state(run),  # noqa: B023 - as above
            )
            assert ended == "success"

    def begin(self, seconds: float, count: int) -> list[str]:
        """Start runs and return them when their tasks run."""
        began, _ = self.ledger()
        runs = [self.trigger(seconds) for _ in range(count)]
        wait_until(lambda: self.ledger()[0] == began + count, "tasks that run", every_s=1)
        return runs

    def ledger(self) -> tuple[int, int]:
        """Return how many attempts have begun, and how many have ended without a kill."""
        hosts = [name for name, roles in self.roles.items() if "worker" in roles]
        words = "".join(self.bed[name].run(f"sudo cat {LEDGER} 2>/dev/null || true").stdout for name in hosts).split()
        return words.count("began"), words.count("ended")


class Poller:
    """Requests the UI through the balancer in a loop, each time on a new connection."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v2/version"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self.asked = 0
        self.failed: list[str] = []

    def __enter__(self) -> Poller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _poll(self) -> None:
        while not self._over.is_set():
            self.asked += 1
            try:
                httpx.get(self._url, timeout=ANSWER_S).raise_for_status()
            except httpx.HTTPError as error:
                self.failed.append(f"{time.strftime('%H:%M:%S')} {error!r}")
            self._over.wait(0.1)


@contextmanager
def make_fleet(
    folder: Path, roles: Mapping[str, str] = ROLES, *, fetched: Sequence[str] = PACKAGES, has_ipv6: bool = False
) -> Iterator[Four]:
    """Yield a fleet on machines made here, with a release that is live; skip the test where no machines can run."""
    if reason := why_not():
        pytest.skip(f"no machines can run here: {reason}")
    with Bed.create(list(roles), image=ensure_image(Recipe(fetched=tuple(fetched))), has_ipv6=has_ipv6) as bed:
        bed.wait_ready()
        made = Four(folder, bed, roles)
        made.write()
        made.do("apply")
        made.do("release", "deploy", "-m", "first")
        yield made
