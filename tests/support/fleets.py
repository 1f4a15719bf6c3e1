"""A platform as a test sees it: its project, its commands, its API, its processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

import authorities
from airfleet.runners.local import ports
from airfleet.runners.local.processes import find_members
from airfleet.workspace.state_folder import StateFolder
from deadline import COMMAND_S, PATIENCE_S, wait_until

RUN_S = 600.0
SECRET = "hunter2-of-the-crm"
ANNS = "hunter2-of-ann"
COMPONENTS = (
    *("log-agent", "image", "postgres", "api-server", "execution-api", "scheduler", "dag-processor", "triggerer"),
    *("releaser", "agents"),
)

DAGS = """
import json, os, time
from datetime import timedelta
from pathlib import Path
from airflow.sdk import Connection, Variable, dag, task

HERE = Path(os.environ["AIRFLEET_PROJECT"])

@dag(schedule=None, catchup=False, is_paused_upon_creation=False, tags=["team-a"])
def quick():
    @task
    def work():
        return 1
    work()

quick()

@dag(schedule=None, catchup=False, is_paused_upon_creation=False)
def slow():
    @task(retries=2, retry_delay=timedelta(seconds=1))
    def work():
        with (HERE / "attempts").open("a") as file:
            file.write(f"{os.getpid()} {os.getsid(0)}\\n")
        while (HERE / "hold").exists():
            time.sleep(0.2)
        with (HERE / "attempts").open("a") as file:
            file.write("done\\n")
    work()

slow()

@dag(schedule=None, catchup=False, is_paused_upon_creation=False)
def reads():
    @task
    def work():
        import psycopg2
        crm, own = Connection.get("crm"), Connection.get("warehouse")
        with psycopg2.connect(
            host=own.host, port=own.port, dbname=own.schema, user=own.login, password=own.password
        ) as database, database.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS mine (n int)")
            cursor.execute("SELECT current_database(), current_user")
            row = cursor.fetchone()
        (HERE / "read.json").write_text(json.dumps({
            "password": crm.password,
            "extra": crm.extra_dejson,
            "variable": Variable.get("limits", deserialize_json=True),
            "region": os.environ["REGION"],
            "row": row,
        }))
    work()

reads()
"""
FLEET = """\
name: {name}
parallelism: 3
ports: {{api: {port}}}
env: {{REGION: eu}}
airflow: {{core: {{max_active_tasks_per_dag: 2}}, api: {{instance_name: "100% mine"}}}}
databases: [warehouse]
connections:
  crm: {{type: http, host: crm.example.com, login: reader, password: {{env: TEST_CRM_PASSWORD}}, extra: {{n: 1}}}}
variables: {{limits: {{days: 7}}}}
slot_pools: {{crm: {{slots: 2, description: Few}}}}
access:
  users:
    ann: {{email: ann@example.com, name: Ann Example, roles: [team-a], password: {{env: TEST_ANN_PASSWORD}}}}
    bob: {{email: bob@example.com, groups: [readers]}}
  roles:
    team-a: {{dags: {{read: ["tag:team-a"], edit: [quick]}}}}
    team-b: {{dags: {{read: ["re*"]}}}}
  groups: {{readers: {{roles: [team-b]}}}}
"""


@dataclass
class Platform:
    """One project in its own folder, and the platform of that project."""

    project: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    token: str = ""

    @classmethod
    def create(cls, project: Path) -> Platform:
        """Write a small project; nothing is started."""
        (project / "dags").mkdir(parents=True)
        (project / "dags" / "work.py").write_text(DAGS)
        environment = {"TEST_CRM_PASSWORD": SECRET, "TEST_ANN_PASSWORD": ANNS, "AIRFLOW__CORE__PARALLELISM": "1"}
        platform = cls(project, ports.find_free(), environment)
        (project / "fleet.yaml").write_text(FLEET.format(name=project.name, port=platform.port))
        return platform

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.project / ".airfleet")

    @property
    def password(self) -> str:
        return (self.state.secrets / "admin_password").read_text()

    def airfleet(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one airfleet command in the project's folder."""
        done = subprocess.run(
            [sys.executable, "-m", "airfleet", *words],
            cwd=self.project,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def up(self, *words: str) -> subprocess.CompletedProcess[str]:
        self.token = ""
        return self.airfleet("up", "--detach", *words)

    def down(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.airfleet("down", *words)

    def status(self) -> dict[str, Any]:
        """Return what `airfleet status` says. It exits with 1 while anything is unhealthy."""
        done = self.airfleet("status", "--json", check=False)
        assert done.stdout, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def live(self) -> dict[str, Any]:
        """Return the live release as `airfleet status` shows it; {} if it shows none."""
        return self.status()["release"] or {}

    def is_up(self) -> bool:
        return self.state.is_held()

    def is_healthy(self) -> bool:
        snapshot = self.state.read_snapshot()
        return snapshot is not None and snapshot.phase == "healthy"

    def wait_healthy(self) -> None:
        wait_until(self.is_healthy, f"all healthy in {self.project}", seen=self.describe)

    def is_back(self, name: str, old: int) -> bool:
        """Return whether all is healthy, and the component is another process than that with the pid `old`."""
        snapshot = self.state.read_snapshot()
        if snapshot is None or snapshot.phase != "healthy":
            return False
        return any(one.pid not in (None, old) for one in snapshot.processes if one.name == name)

    def wait_back(self, name: str, old: int) -> None:
        wait_until(lambda: self.is_back(name, old), f"{name} again", seen=self.describe)

    def describe(self) -> str:
        """Return the phase of the platform, and those of the components that are not healthy."""
        snapshot = self.state.read_snapshot()
        if snapshot is None:
            return "no platform"
        others = [f"{one.name}: {one.phase}" for one in snapshot.processes if one.phase not in ("healthy", "done")]
        return ", ".join([f"the platform: {snapshot.phase}", *others])

    def pid(self, name: str) -> int | None:
        """Return the pid of a component from the supervisor's last snapshot, or None."""
        snapshot = self.state.read_snapshot()
        return next((one.pid for one in snapshot.processes if one.name == name), None) if snapshot else None

    def processes(self) -> list[psutil.Process]:
        """Return all living processes of this platform, including the supervisor."""
        snapshot = self.state.read_snapshot()
        if snapshot is None:
            return []
        found = find_members((*snapshot.sessions, snapshot.supervisor), marker=self.state.peek_instance())
        everyone = {one.pid: one for one in found}
        for one in found:
            with contextlib.suppress(psutil.NoSuchProcess):  # tasks end at any moment
                everyone |= {child.pid: child for child in one.children(recursive=True)}
        return list(everyone.values())

    def session(self, leader: int | None) -> list[psutil.Process]:
        """Return the living processes of the session with this id: the pid of the component that began it."""
        members = []
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):  # one that ends while it is looked at
                if os.getsid(process.pid) == leader:
                    members.append(process)
        return members

    def log(self, name: str) -> str:
        return (self.state.logs / f"{name}.log").read_text()

    def call(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 - JSON
        """Call Airflow's REST API as the admin and return the JSON of its answer."""
        base = f"http://127.0.0.1:{self.port}"
        with httpx.Client(base_url=base, timeout=PATIENCE_S, trust_env=False, verify=authorities.read()) as client:
            if not self.token:
                login = client.post("/auth/token", json={"username": "admin", "password": self.password})
                self.token = login.raise_for_status().json()["access_token"]
            headers = {"Authorization": f"Bearer {self.token}"}
            return client.request(method, f"/api/v2{path}", headers=headers, **options).raise_for_status().json()

    def log_in(self, password: str, user: str = "admin") -> httpx.Response:
        """The answer to a request of a user, with this password, for a token."""
        url = f"http://127.0.0.1:{self.port}/auth/token"
        login = {"username": user, "password": password}
        return httpx.post(url, json=login, timeout=PATIENCE_S, trust_env=False, verify=authorities.read())

    def knows(self, dag: str) -> bool:
        with contextlib.suppress(httpx.HTTPStatusError, httpx.TransportError):
            return bool(self.call("GET", f"/dags/{dag}"))
        return False

    def trigger(self, dag: str) -> str:
        """Start a run and return its id."""
        wait_until(lambda: self.knows(dag), f"the Dag {dag}", every_s=0.5, seen=self.describe)
        return str(self.call("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None})["dag_run_id"])

    def run_state(self, dag: str, run: str) -> str:
        return str(self.call("GET", f"/dags/{dag}/dagRuns/{run}")["state"])

    def wait_run(self, dag: str, run: str) -> str:
        """Wait for the end of a run and return its state."""
        return wait_until(
            lambda: (state := self.run_state(dag, run)) in ("success", "failed") and state,
            f"the end of {run} of {dag}",
            timeout_s=RUN_S,
            every_s=0.3,
            seen=lambda: self.list_tasks(dag, run),
        )

    def list_tasks(self, dag: str, run: str) -> list[tuple[str, str | None, int]]:
        """Return the id, state and try number of each task instance of a run."""
        found = self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=200")["task_instances"]
        return [(one["task_id"], one["state"], one["try_number"]) for one in found]

    def succeeds(self, dag: str) -> bool:
        """Start a run and return whether it succeeded."""
        return self.wait_run(dag, self.trigger(dag)) == "success"

    def hold(self) -> str:
        """Start a run whose task does not end before `release`; return its id when the task runs."""
        (self.project / "attempts").unlink(missing_ok=True)
        (self.project / "hold").touch()
        run = self.trigger("slow")
        wait_until(self.attempts, "the task's start", seen=lambda: self.list_tasks("slow", run))
        return run

    def attempts(self) -> list[str]:
        """Return one line for each start of the task, and `done` for each end."""
        path = self.project / "attempts"
        return path.read_text().splitlines() if path.exists() else []

    def release(self) -> None:
        (self.project / "hold").unlink(missing_ok=True)


def end_everything(platform: Platform) -> None:
    """Kill the processes that a failed test left. Only those of this platform are found."""
    for process in platform.processes():
        with contextlib.suppress(psutil.Error):
            process.kill()


@contextlib.contextmanager
def make(name: str) -> Iterator[Platform]:
    """Yield a platform that is not up yet; end it and remove its folder in any case."""
    # pytest's own temporary folders are closed to the user as which root runs PostgreSQL.
    with tempfile.TemporaryDirectory(prefix="airfleet-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        platform = Platform.create(Path(folder) / name)
        try:
            yield platform
        finally:
            platform.airfleet("down", "--now", check=False)
            end_everything(platform)
