"""What is found in a folder of Airflow 2 Dags, what is rewritten there, and that nothing else changes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from airfleet.errors import UsageError
from airfleet.operations.migration import rewriting, source_rules, templates
from airfleet.operations.migration.findings import Handling, MigrationFinding
from airfleet.operations.migration.rewriting import Rewrite
from airfleet.releases.checks.source import SourceFile


def test_names_in_templates_are_rewritten_where_the_value_stays_the_same() -> None:
    text = "{{ execution_date }} {% if dag_run.execution_date %}{{ yesterday_ds }}{% endif %} execution_date"
    assert templates.rewrite(text) == (
        "{{ logical_date }} {% if dag_run.logical_date %}{{ macros.ds_add(ds, -1) }}{% endif %} execution_date"
    )


@pytest.mark.parametrize(
    "text", ["{{ params.execution_date }}", "{{ dag_run.conf['execution_date'] }}", "{{ my_execution_date }}"]
)
def test_names_of_users_own_in_templates_stay(text: str) -> None:
    assert templates.rewrite(text) == text


def find(code: str) -> list[tuple[str, Handling, int]]:
    return [(one.rule, one.verdict, one.line) for one in source_rules.find(SourceFile("dags/a.py", code))]


@pytest.mark.parametrize(
    ("code", "rule", "verdict"),
    [
        ("T(sla=timedelta(hours=1))", "sla", Handling.MOVED),
        ("DAG('a', sla_miss_callback=tell)", "sla", Handling.MOVED),
        ("T(on_failure_callback=tell)", "callback", Handling.REVIEW),
        ("a = {'email_on_failure': True}", "email", Handling.MOVED),
        ("SubDagOperator(task_id='x')", "subdag", Handling.BROKEN),
        ("T(sql='{{ next_execution_date }}')", "template", Handling.BROKEN),
        ("T(sql='{{ execution_date }}')", "template", Handling.REWRITTEN),
        ("def f(**context):\n    return context['execution_date']", "context", Handling.BROKEN),
        ("x = context.get('next_ds')", "context", Handling.BROKEN),
        ("x = dag_run.execution_date", "context", Handling.BROKEN),
        ("TriggerDagRunOperator(execution_date='x')", "context", Handling.BROKEN),
        ("from airflow.utils.session import provide_session", "database", Handling.BROKEN),
        ("from airflow.settings import Session", "database", Handling.BROKEN),
        ("DagRun.find(dag_id='x')", "database", Handling.BROKEN),
        ("session.query(TaskInstance)", "database", Handling.BROKEN),
        ("SqlSensor(conn_id='airflow_db')", "database", Handling.BROKEN),
        ("from airflow.providers.qubole.operators.qubole import QuboleOperator", "ended-provider", Handling.BROKEN),
        ("T(trigger_rule='dummy')", "trigger-rule", Handling.REWRITTEN),
        ("BashOperator(bash_command='airflow dags trigger x')", "command", Handling.BROKEN),
        ("get('https://airflow.example.com/api/v1/dags')", "rest-api", Handling.BROKEN),
        ("class A(AirflowPlugin):\n    flask_blueprints = [b]", "plugin", Handling.BROKEN),
        ("class A(AirflowPlugin):\n    timetables = [T]", "plugin", Handling.REVIEW),
    ],
)
def test_each_rule_finds_what_it_is_for(code: str, rule: str, verdict: Handling) -> None:
    assert (rule, verdict) in [(found, how) for found, how, _ in find(code)]


@pytest.mark.parametrize(
    "code",
    [
        "T(sla=None, on_failure_callback=None, email_on_failure=False)",
        '"""Docs say {{ execution_date }}."""',
        "T(doc_md='the airflow is dags of wind', bash_command='run my-airflow dags')",
        "x = requests.get('https://example.com/api/v1/customers')",
        "Variable.get('x')\nConnection.get('y')",
        "T(trigger_rule='all_done')",
        "class Timer:\n    def wait(self, execution_date):\n        pass",
    ],
)
def test_code_that_still_works_is_not_found(code: str) -> None:
    assert find(code) == []


def rewrite(folder: Path, **files: str) -> Rewrite:
    (folder / "dags").mkdir()
    for name, text in files.items():
        (folder / "dags" / f"{name}.py").write_text(text)
    return rewriting.rewrite(folder)


def select(found: Rewrite, rule: str) -> list[MigrationFinding]:
    return [one for one in found.findings if one.rule == rule]


OLD = """\
from airflow import DAG
from airflow.datasets import Dataset
from airflow.operators.bash import BashOperator
from airflow.utils.weekday import WeekDay

with DAG("sales", schedule_interval="@daily") as dag:
    # größer: the columns of what follows count bytes
    load = BashOperator(task_id="größer", bash_command="load {{ execution_date }}", trigger_rule="dummy")
    done = BashOperator(task_id="done", bash_command=f"{dag.dag_id} {{{{ yesterday_ds }}}}", outlets=[Dataset("s3://x")])
    day = WeekDay.MONDAY
"""


def test_the_diff_turns_the_old_folder_into_the_new_one(tmp_path: Path) -> None:
    if shutil.which("patch") is None:
        pytest.skip("the program patch is not installed")
    found = rewrite(tmp_path, sales=OLD)
    assert (tmp_path / "dags" / "sales.py").read_text() == OLD
    subprocess.run(["patch", "-s", "-p1"], input=found.diff.encode(), cwd=tmp_path, check=True)
    new = (tmp_path / "dags" / "sales.py").read_text()
    assert new == found.new["dags/sales.py"]
    assert "load {{ logical_date }}" in new
    assert 'trigger_rule="always"' in new
    assert "{{{{ macros.ds_add(ds, -1) }}}}" in new
    assert 'schedule="@daily"' in new
    assert "# größer" in new


def test_an_import_that_fails_is_removed_when_the_rewrite_left_it_without_a_use(tmp_path: Path) -> None:
    found = rewrite(tmp_path, sales=OLD)
    new = found.new["dags/sales.py"]
    assert "airflow.datasets" not in new
    assert "from airflow.providers.standard.utils.weekday import WeekDay" in new
    assert {(one.line, one.verdict) for one in select(found, "import")} == {
        (2, Handling.REWRITTEN),
        (4, Handling.REWRITTEN),
    }


def test_an_import_that_fails_and_is_used_is_for_a_person(tmp_path: Path) -> None:
    code = "from airflow.operators.python import PythonOperator as P, is_venv_installed\nis_venv_installed()\nP()\n"
    found = rewrite(tmp_path, a=code)
    assert [(one.verdict, one.line) for one in select(found, "import")] == [(Handling.BROKEN, 1)]
    assert "is_venv_installed()" in found.new["dags/a.py"]


def test_imports_that_the_file_guards_itself_stay(tmp_path: Path) -> None:
    code = "try:\n    from airflow.datasets import Dataset\nexcept ImportError:\n    Dataset = None\n"
    found = rewrite(tmp_path, a=code)
    assert select(found, "import") == []
    assert found.new["dags/a.py"] == code


def test_what_ruff_and_our_rules_both_find_is_told_once(tmp_path: Path) -> None:
    found = rewrite(
        tmp_path, a="from airflow.decorators import task\n\n@task\ndef f(**c):\n    return c['execution_date']\n"
    )
    assert [one.rule for one in found.findings if "execution_date" in one.what] == ["context"]


def test_files_that_are_no_python_are_named_and_left_alone(tmp_path: Path) -> None:
    found = rewrite(tmp_path, good="x = 1\n", bad="print 'x'\n")
    assert [path for path, _ in found.unread] == ["dags/bad.py"]
    assert list(found.new) == ["dags/good.py"]


def test_only_regular_files_inside_the_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password = 1\n")
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "endless.py").symlink_to("/dev/zero")
    (dags / "link.py").symlink_to(tmp_path / "secret")
    (dags / "new\nline.py").write_text("x = 1\n")
    (dags / "large.sql").write_bytes(b" " * (rewriting.LARGEST_BYTES + 1))
    os.mkfifo(dags / "pipe.py")
    (dags / "good.py").write_text("x = 1\n")
    found = rewriting.rewrite(dags)
    assert list(found.old) == ["good.py"]
    assert dict(found.unread) == {
        "endless.py": "a link, which is not followed",
        "large.sql": f"larger than {rewriting.LARGEST_BYTES} bytes",
        "link.py": "a link, which is not followed",
        "new\\nline.py": "its name has characters that cannot be printed",
        "pipe.py": "no regular file",
    }


def test_files_that_airflow_renders_are_rewritten_too(tmp_path: Path) -> None:
    (tmp_path / "load.sql").write_text("select '{{ execution_date }}';\nselect '{{ next_ds }}';\n")
    found = rewrite(tmp_path, a="x = 1\n")
    assert found.new["load.sql"] == "select '{{ logical_date }}';\nselect '{{ next_ds }}';\n"
    assert [(one.line, one.verdict) for one in select(found, "template")] == [
        (1, Handling.REWRITTEN),
        (2, Handling.BROKEN),
    ]


@pytest.mark.parametrize("folder", ["missing", ""])
def test_a_folder_without_dags_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError):
        rewriting.rewrite(tmp_path / folder)


def test_a_project_is_fixed_in_place_with_the_imports_that_ruff_leaves(tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "a.py").write_text(
        "from airflow.operators.subdag import SubDagOperator\n"
        "from airflow.utils.weekday import WeekDay\n\nprint(WeekDay.MONDAY)\n"
    )
    (dags / "b.py").write_text("from airflow.sdk import dag\n\nprint(dag)\n")
    (dags / "a.py").chmod(0o640)
    assert rewriting.fix(tmp_path) == ("dags/a.py",)
    assert "SubDag" not in (dags / "a.py").read_text()
    assert "airflow.providers.standard" in (dags / "a.py").read_text()
    assert (dags / "a.py").stat().st_mode & 0o777 == 0o640
    assert rewriting.fix(tmp_path) == ()
    assert sorted(path.name for path in dags.iterdir()) == ["a.py", "b.py"]
