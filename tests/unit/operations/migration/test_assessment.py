"""An assessment from end to end: Dags, airflow.cfg, requirements and the metadata database of Airflow 2."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import yaml

from airfleet.errors import UsageError
from airfleet.operations.migration import assessment, metadata, packages, report, settings
from airfleet.operations.migration.assessment import Assessment
from airfleet.operations.migration.metadata import Metadata
from airfleet.operations.migration.packages import PackageOrigin
from airfleet.operations.migration.settings import Fate
from airfleet.spec import load
from command_line import invoke

ROOT = Path(__file__).parents[4]
LOCK = """\
apache-airflow==3.3.2 \\
    --hash=sha256:1
apache-airflow-providers-postgres==7.1.1
apache-airflow-providers-standard==1.21.0 \\
pandas==2.2.3 \\
"""

DAG = """\
from datetime import timedelta
import pendulum
from airflow import DAG
from airflow.operators.bash import BashOperator
from airflow.providers.snowflake.operators.snowflake import SnowflakeOperator

with DAG(
    "sales.daily",
    schedule="30 4 * * 1-5",
    start_date=pendulum.datetime(2024, 1, 1, tz="Europe/Berlin"),
    default_args={"owner": "bi", "email": ["bi@example.com"], "email_on_failure": True},
):
    load = BashOperator(task_id="load", bash_command="true", sla=timedelta(hours=1, minutes=30))
    SnowflakeOperator(task_id="publish", sql="select 1", sla=timedelta(days=2))

with DAG("hourly", schedule="@hourly", default_args={"sla": timedelta(minutes=20)}):
    BashOperator(task_id="one", bash_command="true")
"""
CONFIG = """\
[core]
executor = CeleryKubernetesExecutor
parallelism = 64
fernet_key = super-secret-key
dag_concurrency = 24
dagbag_import_timeout = 99
default_timezone = utc
database_access_isolation = False
enable_xcom_pickling = True
[scheduler]
catchup_by_default = False
[webserver]
secret_key = another-secret
[smtp]
smtp_host = mail.example.com
smtp_mail_from = airflow@example.com
smtp_password = mail-secret
"""
SECRETS = (
    "super-secret-key",
    "another-secret",
    "mail-secret",
    "pw-crypted",
    "extra-crypted",
    "value-crypted",
    "hash-of-pw",
)

DUMP = """\
--
COPY public.alembic_version (version_num) FROM stdin;
22ed7efa9da2
\\.
COPY public.connection (id, conn_id, conn_type, description, host, schema, login, password, port, extra) FROM stdin;
1\tcrm\tpostgres\t\\N\tcrm.example.com\tsales\treader\tpw-crypted\t5432\t\\N
2\taws_default\taws\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\textra-crypted
3\tBad Name\thttp\t\\N\tx\t\\N\t\\N\t\\N\t\\N\t\\N
\\.
COPY public.variable (id, key, val, description, is_encrypted) FROM stdin;
1\treport_days\tvalue-crypted\t\\N\tt
\\.
COPY public.slot_pool (id, pool, slots, description, include_deferred) FROM stdin;
1\tdefault_pool\t128\tDefault pool\tf
2\tcrm\t3\tWrites to the CRM\tt
\\.
COPY public.ab_user (id, first_name, last_name, username, password, active, email) FROM stdin;
1\tAnn\tLee\tann\thash-of-pw\tt\tann@example.com
2\tBob\tGone\tbob\thash-of-pw\tf\tbob@example.com
\\.
COPY public.ab_role (id, name) FROM stdin;
1\tAdmin
\\.
COPY public.ab_user_role (id, user_id, role_id) FROM stdin;
1\t1\t1
\\.
COPY public.dag (dag_id, is_paused, is_active) FROM stdin;
hourly\tt\tt
made_in_a_loop\tf\tt
long_gone\tf\tf
\\.
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "sales.py").write_text(DAG)
    (tmp_path / "airflow.cfg").write_text(CONFIG)
    (tmp_path / "requirements.txt").write_text(
        "apache-airflow[postgres]==2.10.5\npandas<2\nmy-lib==1.0\napache-airflow-providers-snowflake==5.0\n"
    )
    (tmp_path / "airflow.sql").write_text(DUMP)
    return tmp_path


def assess(old: Path) -> Assessment:
    return assessment.assess(
        old / "dags",
        airflow="3.3.2",
        lock=LOCK,
        config=old / "airflow.cfg",
        requirements=old / "requirements.txt",
        database=metadata.read_dump(old / "airflow.sql"),
    )


def test_the_new_fleet_file_is_accepted_and_keeps_the_promises(old: Path) -> None:
    found = assess(old)
    assert found.fleet_file.problems == ()
    fleet = load.parse(found.fleet_file.text, file="fleet.yaml", default_name="x", cpus=2)
    assert set(fleet.connections) == {"crm", "aws_default"}
    assert set(fleet.slot_pools) == {"crm"}
    written = yaml.safe_load(found.fleet_file.text)
    # The run of 04:30 has 90 minutes. Two days cannot be a time of day, and neither can an SLA of an hourly Dag.
    days = ["mon", "tue", "wed", "thu", "fri"]
    assert list(written["slas"].values()) == [
        {"dag": r"sales\.daily", "task": "load", "finished_by": "06:00", "zone": "Europe/Berlin", "days": days},
        {"dag": r"sales\.daily", "task": "publish", "no_longer_than": "2d"},
        {"dag": "hourly", "no_longer_than": "20m"},
    ]
    assert written["notifications"]["receivers"]["mail"]["to"] == ["bi@example.com"]
    assert written["notifications"]["failures"] == [{"dag": r"sales\.daily"}]


def test_the_first_run_follows_the_last_one_of_airflow_2(old: Path) -> None:
    kept = yaml.safe_load(assess(old).fleet_file.text)["airflow"]
    assert kept["scheduler"]["create_cron_data_intervals"] == "True"
    assert kept["scheduler"]["catchup_by_default"] == "False", "airflow.cfg decides before Airflow 2's default"


def test_no_secret_reaches_any_output(old: Path) -> None:
    found = assess(old)
    everything = "\n".join(
        (json.dumps(assessment.to_json(found)), report.write_markdown(found), *report.list_lines(found), repr(found))
    )
    assert [secret for secret in SECRETS if secret in everything] == []


def test_secrets_become_references_that_the_report_lists(old: Path) -> None:
    found = assess(old).fleet_file
    assert set(found.secrets) == {
        "env CRM_PASSWORD: connection crm",
        "env AWS_DEFAULT_URI: connection aws_default",
        "file secrets/variables/report_days: variable report_days",
    }
    assert any("Bad Name" in one for one in found.left_out)


def test_each_option_is_accounted_for(old: Path) -> None:
    fates = {f"{one.section}.{one.name}": one.fate for one in assess(old).settings.options}
    assert fates["core.executor"] is Fate.OWNED
    assert fates["core.fernet_key"] is Fate.OWNED
    assert fates["core.enable_xcom_pickling"] is Fate.REMOVED
    assert fates["core.database_access_isolation"] is Fate.REMOVED
    assert fates["core.max_active_tasks_per_dag"] is Fate.KEPT
    assert fates["core.dagbag_import_timeout"] is Fate.LEFT, "it was tuned for the old machines"
    assert fates["core.default_timezone"] is Fate.DEFAULT
    assert fates["scheduler.catchup_by_default"] is Fate.KEPT
    assert fates["smtp.smtp_host"] is Fate.LEFT


def test_packages_come_from_the_lock_or_stay_without_the_pins_of_airflow_2(old: Path) -> None:
    found = assess(old)
    providers = [f"apache-airflow-providers-{name}" for name in ("amazon", "http", "snowflake")]
    assert found.requirements.split() == [*providers, "my-lib==1.0"]
    by_name = {one.name: one.source for one in found.packages}
    assert by_name["pandas"] is PackageOrigin.LOCK
    assert by_name["apache-airflow-providers-standard"] is PackageOrigin.LOCK
    assert by_name["apache-airflow"] is PackageOrigin.DROPPED


def test_the_work_of_each_dag_is_its_own_findings_and_its_share_of_the_files(old: Path) -> None:
    daily, hourly = assess(old).dags
    assert (daily.dag_id, hourly.dag_id) == ("sales.daily", "hourly")
    assert daily.minutes > hourly.minutes > 0
    assert assess(old).unknown == ("made_in_a_loop",)


def test_a_database_file_is_read_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "airflow.db"
    with sqlite3.connect(path) as database:
        database.executescript(
            "CREATE TABLE connection (conn_id, conn_type, host, schema, login, password, port, extra);"
            "INSERT INTO connection VALUES ('crm', 'http', 'h', '', '', 'pw-crypted', NULL, '');"
            "CREATE TABLE variable (key, val); INSERT INTO variable VALUES ('a', 'value-crypted');"
        )
    database.close()
    before = path.read_bytes()
    for found in (metadata.read_url(f"sqlite:///{path}"), metadata.read_dump(path)):
        assert found.connections[0].has_password
        assert found.variables == ("a",)
        assert "slot_pool" in found.missing
        assert "crypted" not in repr(found)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"PGDMP...", b"hello"])
def test_what_is_no_plain_dump_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dump").write_bytes(content)
    with pytest.raises(UsageError):
        metadata.read_dump(tmp_path / "dump")


def test_a_database_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        metadata.read_url("mysql://root:hash-of-pw@db/airflow")
    assert "hash-of-pw" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%zzhunter22@127.0.0.1/db",
        "postgresql://u:p@hunter22@127.0.0.1/db",
        "postgresql://u:hunter22/x@127.0.0.1/db",
        "postgresql://u:p@hunter22/x@127.0.0.1/db",
        "postgresql://u:p@hunter22:x@127.0.0.1/db",
        "postgresql://u:p@[hunter22@127.0.0.1/db",
        "hunter22:x",
    ],
)
def test_no_part_of_a_password_that_is_not_encoded_is_told(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        metadata.read_url(url)
    assert "hunter22" not in f"{caught.value} {caught.value.hint} {caught.value.where}"


def test_the_name_of_a_dag_cannot_steer_the_terminal(old: Path) -> None:
    (old / "dags" / "a.py").write_text("from airflow import DAG\nDAG('red \\x1b[31m', schedule=None)\n")
    lines = list(report.list_lines(assess(old)))
    assert any("red " in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_options_are_judged_without_any_file() -> None:
    assert settings.keep(())["scheduler"] == dict(settings.SCHEDULING)
    assert packages.list_packages((), (), "", {}) == ()
    assert Metadata().connections == ()


def test_the_command_writes_a_folder_once(old: Path) -> None:
    argv = ["assess", str(old / "dags"), "--config", str(old / "airflow.cfg"), "--output", str(old / "move")]
    done = invoke("migrate", *argv, catch_exceptions=False)
    assert "2 Dags in 1 files" in done.stdout
    assert sorted(path.name for path in (old / "move").iterdir()) == sorted(
        ("report.md", "migration.diff", "fleet.yaml", "requirements.txt")
    )
    with pytest.raises(UsageError, match="exists"):
        invoke("migrate", *argv, catch_exceptions=False)
