"""Checks catch on a real platform what the documentation says, and Airflow's own examples get the findings it lists."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from airfleet.releases.checks import registry
from fleets import Platform

pytestmark = pytest.mark.local

ROOT = Path(__file__).parents[2]
FLEET = """\
name: releases
dags: releases
ports: {{api: {port}}}
pools: {{default: {{concurrency: 4}}}}
checks: {{tags: warning, description: warning, execution-timeout: warning, naming: warning, parse_seconds: 0.5}}
"""
HEAD = """\
from datetime import datetime

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Variable, dag, task

"""


def in_dag(body: str, dag_id: str) -> str:
    return f"{HEAD}\nwith DAG({dag_id!r}, schedule=None, doc_md='x', tags=['x']):\n    {body}\n"


def decorated(line: str, name: str) -> str:
    return f"{HEAD}\n{line}\ndef {name}():\n    BashOperator(task_id='x', bash_command='x')\n\n{name}()\n"


def with_task(line: str, dag_id: str) -> str:
    return in_dag(f"{line}\n    def work(): ...\n    work()", dag_id)


# For each check the files of which one is caught, the first; the example of the manual is in it as it stands there.
EXAMPLES: dict[str, dict[str, str]] = {
    "import-error": {"dags/typo.py": f"import pandas_typo\n{HEAD}"},
    "cycle": {
        "dags/cycle.py": in_dag(
            "extract, load = EmptyOperator(task_id='extract'), EmptyOperator(task_id='load')\n"
            "    extract >> load >> extract",
            "cycle",
        )
    },
    "duplicate-dag-id": {
        "dags/b.py": decorated('@dag(dag_id="sales")', "sales_b"),
        "dags/a.py": decorated('@dag(dag_id="sales")', "sales_a"),
    },
    "unstable-dag": {
        "dags/unstable.py": in_dag('BashOperator(task_id="x", bash_command=f"echo {datetime.now()}")', "unstable")
    },
    "import-time-access": {
        "dags/access.py": f'{HEAD}\ntry:\n    TABLES = Variable.get("tables")  # outside of a task\nexcept Exception:\n'
        "    TABLES = ''\n",
    },
    "slow-import": {
        "dags/slow.py": f"from include import tensorflow  # as `import tensorflow` takes\n{HEAD}",
        "include/__init__.py": "",
        "include/tensorflow.py": "import time\n\ntime.sleep(1)\n",
    },
    "missing-connection": {
        "dags/connection.py": in_dag('SQLExecuteQueryOperator(task_id="x", conn_id="warehuose", sql="")', "connection")
    },
    "missing-variable": {
        "dags/variable.py": in_dag('BashOperator(task_id="x", bash_command="echo {{ var.value.regoin }}")', "variable")
    },
    "missing-slot-pool": {"dags/slot_pool.py": with_task('@task(pool="crn")', "slot_pool")},
    "missing-queue": {"dags/queue.py": with_task('@task(queue="gpu")', "queue")},
    "airflow-2-code": {"dags/old.py": f'{HEAD}\nDAG("sales", schedule_interval="@daily")\n'},
    "project-tests": {"tests/test_sum.py": "def test_sum() -> None:\n    assert 1 + 1 == 3\n"},
    "owner": {"dags/owner.py": decorated("@dag()", "no_owner")},
    "tags": {"dags/tags.py": decorated("@dag()", "no_tags")},
    "description": {"dags/description.py": decorated("@dag()", "no_description")},
    "retries": {"dags/retries.py": with_task("@task(retries=0)", "retries")},
    "execution-timeout": {"dags/timeout.py": with_task("@task()", "no_timeout")},
    "naming": {"dags/naming.py": decorated('@dag(dag_id="My-Dag")', "naming")},
    "catchup": {
        "dags/flood.py": decorated('@dag(schedule="@hourly", start_date=datetime(2020, 1, 1), catchup=True)', "flood")
    },
    "schedule": {"dags/never.py": decorated('@dag(schedule="0 0 30 2 *")', "never")},
    "unknown-ignore": {"dags/ignore.py": f"{HEAD}\nWORD = 1  # airfleet: ignore[retires]\n"},
}
# The manual says these in words, or with an ellipsis.
IN_WORDS = {"duplicate-dag-id", "slow-import", "missing-connection", "project-tests", "owner", "tags", "description"}
IN_WORDS |= {"execution-timeout"}


@pytest.fixture(scope="module")
def fleet(releases: Platform) -> Platform:
    (releases.project / "fleet.yaml").write_text(FLEET.format(port=releases.port))
    return releases


def empty(project: Path) -> None:
    for name in ("dags", "include", "tests"):
        shutil.rmtree(project / name, ignore_errors=True)
    (project / "dags").mkdir()


@pytest.fixture(scope="module")
def findings(fleet: Platform) -> list[dict[str, Any]]:
    """The findings of one check of all examples together."""
    for files in EXAMPLES.values():
        for name, text in files.items():
            path = fleet.project / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    done = fleet.airfleet("release", "check", "--format", "json", check=False)
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout)["findings"]


@pytest.mark.parametrize("check", [check for check in registry.CHECKS if check != "unmatched-sla"])
def test_what_the_manual_says_is_caught(findings: list[dict[str, Any]], check: str) -> None:
    path, source = next(iter(EXAMPLES[check].items()))
    assert check in IN_WORDS or registry.CHECKS[check].example in source
    caught = [one for one in findings if one["check"] == check and one["path"] == path]
    assert caught
    assert caught[0]["hint"]


def test_a_rule_of_slas_about_no_dag_is_caught_once_all_files_load(fleet: Platform) -> None:
    empty(fleet.project)
    (fleet.project / "dags" / "sales.py").write_text(in_dag("EmptyOperator(task_id='load')", "sales"))
    example = registry.CHECKS["unmatched-sla"].example
    (fleet.project / "fleet.yaml").write_text(f"{FLEET.format(port=fleet.port)}{example}\n")
    found = json.loads(fleet.airfleet("release", "check", "--format", "json", check=False).stdout)["findings"]
    assert [one["path"] for one in found if one["check"] == "unmatched-sla" and one["hint"]] == ["fleet.yaml"]


def test_airflows_own_examples_are_refused_for_good_reasons_only_and_the_rest_goes_live(fleet: Platform) -> None:
    spec = importlib.util.spec_from_file_location("example_dags", ROOT / "tools" / "example_dags.py")
    assert spec
    assert spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    empty(fleet.project)
    (fleet.project / "fleet.yaml").write_text(tool.FLEET.format(name="releases", port=fleet.port))
    tool.copy(fleet.project)
    found = json.loads(fleet.airfleet("release", "check", "--format", "json", check=False).stdout)["findings"]
    assert tool.PAGE.read_text() == tool.describe(found), "python tools/example_dags.py"
    assert fleet.airfleet("release", "deploy", check=False).returncode == 1
    tool.leave_out(fleet.project, found)
    fleet.airfleet("release", "deploy")
    assert fleet.call("GET", "/importErrors")["total_entries"] == 0
    run = fleet.trigger("tutorial_taskflow_api")
    fleet.call("PATCH", "/dags/tutorial_taskflow_api", json={"is_paused": False})
    assert fleet.wait_run("tutorial_taskflow_api", run) == "success"
