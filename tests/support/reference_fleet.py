"""The reference fleet on nine machines of this box: examples/fleet/fleet.yaml with the machines' addresses in it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deadline import REQUEST_S, wait_until
from machines import Bed
from machines.image import Recipe, ensure_image

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "fleet" / "fleet.yaml"
PACKAGES = (
    *("haproxy", "nftables", "pgbackrest", "pgbouncer", "postgresql-15"),
    *("prometheus-node-exporter", "prometheus-postgres-exporter", "rabbitmq-server"),
    *("prometheus", "prometheus-alertmanager"),
)
POOL_HOSTS = {"default": "cpu1", "cpu": "cpu1", "memory": "memory1", "io": "io1"}
_ADDRESS = re.compile(r"^(  (\w+): \{address: )[\d.]+", re.MULTILINE)
_UNFINISHED = ("queued", "running")

Json = dict[str, Any]


def make_bed(*, keep: bool = False) -> Bed:
    """Make nine empty machines with packages in apt's cache. They end with this process unless `keep`."""
    names = [found[1] for found in _ADDRESS.findall(EXAMPLE.read_text())]
    return Bed.create(names, image=ensure_image(Recipe(fetched=PACKAGES)), keep=keep)


@dataclass(frozen=True)
class ReferenceFleet:
    """A project whose fleet.yaml is the example's, on the machines of a bed."""

    folder: Path
    bed: Bed

    def write(self, change: Callable[[str], str] = lambda text: text) -> None:
        """Write fleet.yaml with these changes."""
        text = _ADDRESS.sub(lambda found: found[1] + self.bed[found[2]].address, EXAMPLE.read_text())
        paper = self.bed.layout
        ssh = f"ssh: {{user: ops, key: {paper.key}, known_hosts: {paper.known_hosts}}}"
        (self.folder / "fleet.yaml").write_text(change(re.sub(r"^ssh: .*$", ssh, text, flags=re.MULTILINE)))

    def run(self, *arguments: str, stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        """Run one airfleet command in the project. Its stderr is that of this process."""
        argv = [sys.executable, "-m", "airfleet", *arguments]
        return subprocess.run(argv, cwd=self.folder, check=False, stdout=stdout, text=True)

    def log_in(self) -> httpx.Client:
        """Return a client of the REST API that is logged in as the admin, through the balancer."""
        base = f"http://{self.bed['web1'].address}:8080"
        password = (self.folder / ".airfleet" / "secrets" / "admin_password").read_text().strip()
        login = httpx.post(f"{base}/auth/token", json={"username": "admin", "password": password}, timeout=REQUEST_S)
        token = login.raise_for_status().json()["access_token"]
        return httpx.Client(base_url=f"{base}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=REQUEST_S)

    def run_dag(self, api: httpx.Client, dag: str) -> list[Json]:
        """Run a Dag once and return its task instances."""
        wait_until(lambda: api.get(f"/dags/{dag}").is_success, f"{dag} to appear")
        api.patch(f"/dags/{dag}", json={"is_paused": False}).raise_for_status()
        made = api.post(f"/dags/{dag}/dagRuns", json={"logical_date": None}).raise_for_status().json()
        where = f"/dags/{dag}/dagRuns/{made['dag_run_id']}"
        wait_until(lambda: api.get(where).json()["state"] not in _UNFINISHED, f"the run of {dag} to end")
        tasks: list[Json] = api.get(f"{where}/taskInstances").json()["task_instances"]
        return tasks

    def find_strays(self, tasks: list[Json], hosts: Mapping[str, str] = POOL_HOSTS) -> list[str]:
        """Return the task instances that did not succeed, or ran on another host than that of their queue's pool."""
        return [
            f"{one['task_id']}: {one['state']}, queue {one['queue']}, on {one['hostname']}"
            for one in tasks
            if one["state"] not in ("success", "skipped")
            or (one["hostname"] and one["hostname"] != self.bed[hosts[one["queue"]]].address)
        ]
