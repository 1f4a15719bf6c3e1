"""A fleet whose machines airfleet makes on this computer, from an empty project to runs on new hosts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deadline import COMMAND_S, wait_until

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "tools" / "nspawn-driver"
PLAIN = "debian-12"
DAG = """\
from airflow.sdk import dag, task

@dag(schedule=None, is_paused_upon_creation=False, default_args={"owner": "me", "retries": 1})
def hello():
    @task
    def say():
        return "hello"
    say()

hello()
"""


@dataclass
class FleetFromNothing:
    """A project in a folder of its own, and the groups of machines that its fleet.yaml has."""

    folder: Path
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)

    def start(self) -> None:
        """Make the project: a key for the logins, a Dag, and fleet.yaml."""
        (self.folder / "dags").mkdir(parents=True)
        (self.folder / "dags" / "hello.py").write_text(DAG)
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "key")]
        subprocess.run(key, check=True)
        (self.folder / "known_hosts").touch()

    def write(self, hosts: Mapping[str, Any]) -> None:
        """Write fleet.yaml with these hosts."""
        said = {
            "name": f"made{self.folder.stat().st_ino % 10000}",
            "ssh": {"user": "deploy", "key": "key", "known_hosts": "known_hosts"},
            "pools": {"default": {"concurrency": 2}},
            "machines": {"driver": "command", "command": [str(DRIVER)], "groups": self.groups},
        }
        (self.folder / "fleet.yaml").write_text(yaml.safe_dump(said | ({"hosts": dict(hosts)} if hosts else {})))

    def add(self, name: str, image: str, **more: object) -> None:
        """Add a group of one machine, and keep the hosts that are there."""
        self.groups[name] = {"count": 1, "image": image, "cpus": 2, "memory": "4G", "disk": "16G", **more}
        self.write(self.read_hosts())

    def read_hosts(self) -> dict[str, Any]:
        path = self.folder / "fleet.yaml"
        found: dict[str, Any] = yaml.safe_load(path.read_text()).get("hosts", {}) if path.exists() else {}
        return found

    def take_hosts(self) -> None:
        """Take the hosts that `airfleet machines hosts` prints into fleet.yaml, as a user does."""
        self.write(yaml.safe_load(self.do("machines", "hosts"))["hosts"])

    def do(self, *words: str) -> str:
        """Run a command, and return what it writes to stdout."""
        argv = [sys.executable, "-m", "airfleet", *words]
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, check=False, timeout=COMMAND_S)
        assert done.returncode == 0, f"airfleet {' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def time(self, *words: str) -> float:
        """Run a command, and return its seconds."""
        began = time.monotonic()
        self.do(*words)
        return round(time.monotonic() - began, 1)

    def kill_while_machines_are_made(self, made: int) -> None:
        """Start `airfleet machines apply`, and kill it with all that it started once the driver has so many."""
        argv = [sys.executable, "-m", "airfleet", "machines", "apply", "--yes"]
        with subprocess.Popen(argv, cwd=self.folder, start_new_session=True, stderr=subprocess.DEVNULL) as going:
            try:
                wait_until(lambda: len(self.list_made()) >= made, f"{made} machines", timeout_s=COMMAND_S)
            finally:
                subprocess.run(["kill", f"-{signal.SIGKILL.value}", "--", f"-{going.pid}"], check=False)

    def list_made(self) -> list[dict[str, Any]]:
        """Return the machines that the driver sees."""
        fleet = yaml.safe_load((self.folder / "fleet.yaml").read_text())["name"]
        request = json.dumps({"contract": 1, "action": "list", "fleet": fleet})
        done = subprocess.run([DRIVER], input=request, capture_output=True, text=True, check=True)
        found: list[dict[str, Any]] = json.loads(done.stdout)["machines"]
        return found

    def remove(self) -> None:
        """Destroy every machine that the driver sees."""
        fleet = yaml.safe_load((self.folder / "fleet.yaml").read_text())["name"]
        for one in self.list_made():
            request = {"contract": 1, "action": "destroy", "fleet": fleet, "id": one["id"], "tags": one["tags"]}
            subprocess.run([DRIVER], input=json.dumps(request), text=True, check=True, stdout=subprocess.DEVNULL)
