"""A cut-over between a real Airflow 2.11 and a real Airflow 3: both schedulers run, and share no run and miss none."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from airfleet.operations.migration import rehearsal
from airfleet.operations.migration.cutover import airflow_2, airflow_3
from airfleet.operations.migration.cutover.session import Cutover
from airfleet.operations.migration.side_by_side import report as side_by_side
from airfleet.runners.local.launch import find_postgres
from deadline import COMMAND_S, wait_until
from shops import start_postgres

pytestmark = pytest.mark.local

ROOT = Path(__file__).parents[2]
OLD = ROOT / ".tools" / "airflow-2" / "bin" / "airflow"
HISTORY = 200
MINUTE = timedelta(minutes=1)
DAG = """\
from datetime import datetime, timezone

{imports}

start = datetime.fromisoformat("{start}")
with DAG("minutely", schedule="* * * * *", start_date=start, catchup=True, max_active_runs=1):
    EmptyOperator(task_id="work")
"""
OLD_IMPORTS = "from airflow import DAG\nfrom airflow.operators.empty import EmptyOperator"
NEW_IMPORTS = "from airflow.sdk import DAG\nfrom airflow.providers.standard.operators.empty import EmptyOperator"


@dataclass(frozen=True)
class Side:
    """One Airflow with a database of its own, without a web server."""

    program: Path
    home: Path
    port: int
    database: str

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={self.database}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "1",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": (
                f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/{self.database}"
            ),
            "AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "True",
            "PATH": f"{self.program.parent}:{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore",
        }

    def airflow(self, *words: str) -> None:
        done = subprocess.run([self.program, *words], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    def make(self, dag: str) -> None:
        (self.home / "dags").mkdir(parents=True)
        (self.home / "dags" / "minutely.py").write_text(dag)
        self.airflow("db", "migrate")
        self.airflow("dags", "reserialize")

    @contextmanager
    def schedule(self) -> Iterator[None]:
        log = (self.home / "scheduler.log").open("a")
        with (
            log,
            # Without the server of logs, which would take a fixed port.
            subprocess.Popen(
                [self.program, "scheduler", "--skip-serve-logs"], env=self.environment, stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield
            finally:
                process.terminate()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(sql.encode()).fetchall()

    def runs(self) -> dict[datetime, str]:
        found = self.query("SELECT to_jsonb(dag_run) FROM dag_run WHERE dag_id = 'minutely'")
        rows = [row for (row,) in found]
        return {datetime.fromisoformat(row.get("execution_date") or row["logical_date"]): row["run_id"] for row in rows}


def count_own(new: Side, old: Side) -> int:
    return len(set(new.runs()) - set(old.runs()))


def cut_over(old: Side, new: Side, folder: Path, *, back: bool) -> None:
    with (
        airflow_2.open_platform(f"postgresql://postgres@127.0.0.1:{old.port}/{old.database}") as there,
        psycopg.connect(new.dsn, autocommit=True, row_factory=dict_row) as connection,
    ):
        whole = Cutover(there, airflow_3.open_platform(connection), folder, time.monotonic, time.sleep, print, 300)
        if back:
            whole.bring_back(["minutely"])
        else:
            whole.move(["minutely"])


def check(old: Side, new: Side, start: datetime) -> int:
    """Assert that the two platforms ran every minute once, and return for how many minutes that is."""
    there, here = old.runs(), new.runs()
    # Of a run that both sides have, one is the run, and the other says where it was.
    for moment in set(there) & set(here):
        assert {here[moment], there[moment]} & {f"{there[moment]}__airflow-2", f"{here[moment]}__airfleet"}
    moments = sorted(set(there) | set(here))
    assert moments == [start + MINUTE * number for number in range(len(moments))]
    return len(moments)


def check_rehearsal(old: Side, new: Side, folder: Path) -> None:
    """Assert that Airflow 3 upgrades a copy of the old database, and that the copy is gone afterwards."""
    folder.mkdir(mode=0o711)
    url = f"postgresql://postgres@127.0.0.1:{old.port}/{old.database}"
    found = rehearsal.rehearse(url, folder, find_postgres(), Path(sys.executable), new.environment, print)
    runs = len(old.runs())
    assert found.rows["dag_run"] == (runs, runs)
    assert found.lost == ()
    assert found.new_revision != found.old_revision
    assert not (folder / rehearsal.FOLDER).exists()


def check_side_by_side(old: Side, new: Side, folder: Path) -> None:
    """Assert that the last two runs of Airflow 2 run again on an Airflow 3 of their own, and are the same."""
    found = side_by_side.run_side_by_side(
        f"postgresql://postgres@127.0.0.1:{old.port}/{old.database}",
        ["minutely"],
        number=2,
        timeout_s=COMMAND_S,
        state=folder,
        project=new.home,
        binaries=find_postgres(),
        python=Path(sys.executable),
        environment=new.environment,
        settings={"AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "True"},
        tell=print,
    )
    assert [one.old.outcome.tasks for one in found.runs] == [{"work": "success"}] * 2
    assert found.is_same, list(side_by_side.list_lines(found))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that every user can enter. Every pytest that starts closes the folder above its own."""
    with tempfile.TemporaryDirectory(prefix="airfleet-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_dag_with_a_history_goes_to_airflow_3_and_back(tmp_path: Path) -> None:
    if not OLD.exists():
        pytest.skip("no Airflow 2 here: tools/airflow-2 makes it")
    start = datetime.now(UTC).replace(second=0, microsecond=0) - MINUTE * HISTORY
    with start_postgres(tmp_path) as port:
        old = Side(OLD, tmp_path / "old", port, "old")
        new = Side(Path(sys.executable).with_name("airflow"), tmp_path / "new", port, "new")
        with psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres", autocommit=True) as server:
            for side in (old, new):
                server.execute(f"CREATE DATABASE {side.database}".encode())
        old.make(DAG.format(imports=OLD_IMPORTS, start=start.isoformat()))
        new.make(DAG.format(imports=NEW_IMPORTS, start=start.isoformat()))
        old.airflow("dags", "unpause", "minutely")
        with old.schedule(), new.schedule():
            wait_until(lambda: len(old.runs()) >= HISTORY, "the history", timeout_s=COMMAND_S, every_s=1)
            cut_over(old, new, tmp_path / "state", back=False)
            before = len(old.runs())
            check_rehearsal(old, new, tmp_path / "rehearsal")
            check_side_by_side(old, new, tmp_path / "rehearsal")
            wait_until(lambda: count_own(new, old) >= 3, "three runs in Airflow 3", timeout_s=COMMAND_S, every_s=1)
            assert len(old.runs()) == before
            check(old, new, start)
            cut_over(old, new, tmp_path / "state", back=True)
            made = check(old, new, start)
            wait_until(
                lambda: len(old.runs()) >= made + 2, "two more runs in Airflow 2", timeout_s=COMMAND_S, every_s=1
            )
            assert check(old, new, start) == len(old.runs())
