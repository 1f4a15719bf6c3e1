"""Former runs run again on a real Airflow 3, apart from every platform, and what differs from the history is named."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from airfleet.errors import AirfleetError
from airfleet.operations.migration import rehearsal
from airfleet.operations.migration.side_by_side import history, report, scratch
from airfleet.operations.migration.side_by_side.outcomes import OutcomeDifference
from airfleet.operations.migration.side_by_side.tables import compare_tables, parse_table
from airfleet.runners.local.launch import find_postgres
from command_line import invoke
from deadline import PATIENCE_S, wait_until
from shops import start_postgres

# The columns of Airflow 2.11 that are read.
OLD = """
CREATE TABLE dag_run (dag_id varchar, run_id varchar, run_type varchar, state varchar, execution_date timestamptz,
    data_interval_start timestamptz, data_interval_end timestamptz, conf bytea);
CREATE TABLE task_instance (dag_id varchar, run_id varchar, task_id varchar, map_index integer, state varchar);
CREATE TABLE xcom (dag_id varchar, run_id varchar, task_id varchar, map_index integer, key varchar, value bytea);
"""
DAG = """
import os, pendulum
from airflow.sdk import dag, task

@dag(schedule="@daily", start_date=pendulum.datetime(2026, 11, 1))
def sales():
    @task
    def count(dag_run=None, data_interval_end=None):
        assert "AIRFLOW_2_DATABASE" not in os.environ
        assert dag_run.conf == {"shop": "north"}
        return {"rows": 3, "until": str(data_interval_end.date()), "who": os.geteuid()}

    @task
    def double(number):
        return 2 * number

    @task
    def publish(numbers):
        raise ValueError("it was fine in Airflow 2")

    publish(double.expand(number=[1, 2]))
    count()

sales()
"""
RUN = "scheduled__2026-11-02T00:00:00+00:00"


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="airfleet-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def old(place: Path) -> Iterator[str]:
    """Return the URL of a metadata database as Airflow 2 has it, with one run of one Dag."""
    with start_postgres(place) as port:
        dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(OLD)
            connection.execute(
                "INSERT INTO dag_run VALUES"
                " ('sales', %s, 'scheduled', 'success', '2026-11-02Z', '2026-11-02Z', '2026-11-03Z', %s)",
                (RUN, pickle.dumps({"shop": "north"})),
            )
            tasks = {("count", -1): {"rows": 3}, ("double", 0): 2, ("double", 1): 5, ("publish", -1): None}
            for (task, index), value in tasks.items():
                connection.execute(
                    "INSERT INTO task_instance VALUES ('sales', %s, %s, %s, 'success')", (RUN, task, index)
                )
                if value is not None:
                    connection.execute(
                        "INSERT INTO xcom VALUES ('sales', %s, %s, %s, 'return_value', %s)",
                        (RUN, task, index, json.dumps(value).encode()),
                    )
            connection.execute("INSERT INTO xcom VALUES ('sales', %s, 'count', -1, 'old', %s)", (RUN, pickle.dumps(1)))
        yield dsn


def test_runs_are_repeated_and_what_differs_is_named(place: Path, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project, state = place / "project", place / "state"
    (project / "dags").mkdir(parents=True)
    (project / "dags" / "sales.py").write_text(DAG)
    state.mkdir(mode=0o711)
    monkeypatch.setenv("AIRFLOW_2_DATABASE", old)
    found = report.run_side_by_side(
        old,
        ["sales", "none"],
        number=3,
        timeout_s=300,
        state=state,
        project=project,
        binaries=find_postgres(),
        python=Path(sys.executable),
        environment=os.environ,
        settings={"AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "True"},
        tell=print,
    )
    [run] = found.runs
    log = Path(run.new.log).read_text()
    assert run.new.problem == "", log
    count, *others = sorted(run.differences, key=lambda one: one.what)
    assert others == [
        OutcomeDifference("XCom double[1].return_value", "5", "4"),
        OutcomeDifference("task publish", "success", "failed"),
    ], log
    # The same interval.
    assert count.what == "XCom count.return_value"
    assert json.loads(count.new or "") == {"rows": 3, "until": "2026-11-03", "who": json.loads(count.new or "")["who"]}
    assert run.old.outcome.unread == ("count.old",)
    assert "it was fine in Airflow 2" in log
    assert found.left_out == ("none: no successful run in the old database",)
    assert not found.is_same
    assert not (state / rehearsal.FOLDER).exists()
    text = "\n".join(report.list_lines(found))
    assert f"sales {RUN}: differs" in text
    assert "task publish: success there, failed here" in text
    assert json.loads(json.dumps(report.to_json(found)))["same"] is False


def test_the_command_names_what_it_left_out_and_tables_that_differ(
    place: Path, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = place / "project"
    (project / "dags").mkdir(parents=True)
    (project / "fleet.yaml").write_text("name: sales\n")
    for name in ("AIRFLOW_2_DATABASE", "OLD_TABLES", "NEW_TABLES"):
        monkeypatch.setenv(name, old)
    words = ["migrate", "rehearse", "--project", str(project), "--dag", "none"]
    done = invoke(*words, "--table", "public.xcom", "--table", "public.none")
    assert (done.exit_code, done.stdout) == (1, "left out: none: no successful run in the old database\n")
    shown = invoke(*words, "--json")
    assert json.loads(shown.stdout)["left_out"] == ["none: no successful run in the old database"]
    assert "names no table" in str(invoke(*words, "--table", "xcom").exception)
    assert "--table without a Dag" in str(invoke(*words[:-2], "--table", "public.xcom").exception)


def test_a_dag_ends_with_the_command_that_runs_it(place: Path) -> None:
    started = place / "started"
    (place / "dags").mkdir()
    (place / "dags" / "slow.py").write_text(
        "import airflow, os, pathlib, time  # a dag\n"
        f"pathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n"
    )
    # The command: it starts the program, and is killed.
    command = (
        "import json, os, subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "child.communicate(json.dumps({'parent': os.getpid(), 'dag_id': 'slow'}).encode())\n"
    )
    words = [sys.executable, "-I", str(scratch.PROGRAM), str(place)]
    environment = {**os.environ, "AIRFLOW_HOME": str(place), "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600"}
    with subprocess.Popen([sys.executable, "-c", command, *words], env=environment) as process:
        wait_until(lambda: started.exists() and bool(started.read_text()), "the Dag to run", timeout_s=PATIENCE_S)
        process.kill()
    wait_until(lambda: not Path("/proc", started.read_text()).exists(), "the Dag to end", timeout_s=PATIENCE_S)


def test_a_conf_that_would_run_code_is_left_out_and_a_view_is_no_history(old: str) -> None:
    with psycopg.connect(old, autocommit=True) as connection:
        hostile = b"cos\nsystem\n(S'touch /tmp/never'\ntR."
        connection.execute("UPDATE dag_run SET conf = %s", (hostile,))
        runs, left_out = history.read_runs(old, ["sales"], 1)
        assert runs == []
        assert "its conf is more than" in left_out[0]
        connection.execute("ALTER TABLE xcom RENAME TO real; CREATE VIEW xcom AS SELECT * FROM real")
        with pytest.raises(AirfleetError, match="no metadata database"):
            history.read_runs(old, ["sales"], 1)


def test_tables_are_the_same_whatever_the_order_of_rows_and_columns(old: str) -> None:
    with psycopg.connect(old, autocommit=True) as connection:
        connection.execute("CREATE DATABASE other")
        connection.execute("CREATE TABLE sums (day date, cents bigint, at timestamptz DEFAULT clock_timestamp())")
        connection.execute("INSERT INTO sums VALUES ('2026-11-01', 100), ('2026-11-02', 200)")
    other = old.replace("/postgres", "/other").replace("//other", "//postgres")
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute("CREATE TABLE sums (cents bigint, at timestamptz DEFAULT clock_timestamp(), day date)")
        connection.execute("INSERT INTO sums (day, cents) VALUES ('2026-11-02', 200), ('2026-11-01', 100)")

    def look(*names: str) -> list[OutcomeDifference]:
        return list(compare_tables(old, other, [parse_table(one) for one in names]))

    assert look("public.sums:day,cents") == []
    [whole] = look("public.sums")
    assert whole.new == "2 rows of at, cents, day with other contents"
    assert look("public.none", "public.sums:week") == []
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute("DELETE FROM sums WHERE cents = 100")
    [fewer] = look("public.sums:day,cents")
    assert (fewer.old, fewer.new) == ("2 rows of cents, day", "1 rows of cents, day")
