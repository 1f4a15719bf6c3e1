"""The files for the Helm chart: its schema accepts the values, tasks go where they went, and no secret is in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml

from airfleet.errors import UsageError
from airfleet.operations.kubernetes import export, routing
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from command_line import invoke

SCHEMA = json.loads((Path(__file__).parent / "chart-1.22.0" / "values.schema.json").read_text())
FLEET = """\
name: sales_fleet
hosts:
  web1: {address: 10.0.0.1, roles: [web, balancer, scheduler, database, broker]}
  web2: {address: 10.0.0.2, roles: [web]}
  worker1: {address: 10.0.0.3, pools: [default, memory]}
  worker2: {address: 10.0.0.4, pools: [default]}
pools:
  default: {concurrency: 16, cpus: 4, memory: 8G, drain: 600}
  memory: {concurrency: 4, cpus: 8, memory: 64G, queues: [memory, ml]}
routing:
  - {dag: "sales_.*", operator: PythonOperator, queue: memory}
  - {task: "train", queue: ml}
connections:
  crm: {type: postgres, host: crm.example.com, login: reader, password: {env: CRM_PASSWORD}}
  files: {type: http, host: files.example.com, extra: {verify: true}}
variables:
  report_days: 7
  crm_key: {file: secrets/crm}
  "a:b": x
env:
  TZ: Europe/Berlin
  TOKEN: {command: [sops, -d, token]}
airflow:
  core: {max_active_tasks_per_dag: 24}
databases: [warehouse]
slot_pools:
  crm: {slots: 2}
"""


@cache
def build(*pods: str) -> Mapping[str, str]:
    """Return the files of an export. All tests share them."""
    return export.build(
        parse(),
        airflow="3.3.2",
        release="r" + "a" * 64,
        repository="registry.example.com/airflow",
        pods=pods,
        files=["requirements.txt"],
    )


@cache
def parse() -> Fleet:
    return load.parse(FLEET, file="fleet.yaml", default_name="x", cpus=4)


@pytest.mark.parametrize("pods", [(), ("memory",), ("default", "memory")])
def test_the_schema_of_the_chart_accepts_the_values(pods: tuple[str, ...]) -> None:
    values = yaml.safe_load(build(*pods)["values.yaml"])
    jsonschema.validate(values, SCHEMA)
    # The schema allows anything in a set of workers; its keys are those of all Celery workers, and a name.
    known = {"name", *SCHEMA["properties"]["workers"]["properties"]["celery"]["properties"]}
    sets = values.get("workers", {}).get("celery", {}).get("sets", [])
    assert [key for one in sets for key in one if key not in known] == []


def test_the_schema_refuses_what_the_chart_does_not_know() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**yaml.safe_load(build()["values.yaml"]), "scheduler": {"count": 2}}, SCHEMA)


def test_each_pool_is_a_set_of_workers_with_its_queues_and_limits() -> None:
    default, memory = yaml.safe_load(build()["values.yaml"])["workers"]["celery"]["sets"]
    assert (default["queue"], default["replicas"], default["terminationGracePeriodSeconds"]) == ("default", 2, 600)
    assert memory["queue"] == "memory,ml"
    assert memory["resources"]["limits"] == {"cpu": "8000m", "memory": "65536Mi"}


def test_two_executors_run_at_once_during_a_move() -> None:
    values = yaml.safe_load(build("memory")["values.yaml"])
    assert values["executor"] == "CeleryExecutor,KubernetesExecutor"
    assert [one["name"] for one in values["workers"]["celery"]["sets"]] == ["default"]


def test_an_unknown_pool_is_refused() -> None:
    with pytest.raises(UsageError, match="no pool gpu"):
        build("gpu")


@pytest.mark.parametrize("name", ["values.yaml", "README.md"])
def test_secrets_are_references_and_every_one_is_listed(name: str) -> None:
    text = build()[name]
    for key in ("AIRFLOW_CONN_CRM", "AIRFLOW_VAR_CRM_KEY", "TOKEN", "AIRFLOW_CONN_WAREHOUSE"):
        assert key in text
    assert "CRM_PASSWORD" not in text
    assert "sops" not in text


def test_what_kubernetes_cannot_hold_is_named() -> None:
    files = build()
    assert "AIRFLOW_VAR_A:B" in files["README.md"]
    assert "AIRFLOW_VAR_A:B" not in files["values.yaml"]


def test_no_user_with_a_known_password_is_created() -> None:
    assert yaml.safe_load(build()["values.yaml"])["createUserJob"] == {"enabled": False}


def test_a_task_gets_the_share_of_one_task_in_its_pod() -> None:
    assert routing.limit(parse().pool("memory")) == {"cpu": "2000m", "memory": "16384Mi"}


def test_the_rules_and_dashboards_come_along() -> None:
    files = build()
    rules = yaml.safe_load(files["prometheus-rules.yaml"])
    assert any(one.get("alert") == "TasksFail" for group in rules["spec"]["groups"] for one in group["rules"])
    for one in yaml.safe_load_all(files["dashboards.yaml"]):
        [board] = one["data"].values()
        assert json.loads(board)["panels"]


def test_the_image_copies_only_what_the_project_has() -> None:
    recipe = build()["Dockerfile"]
    assert "requirements.txt" in recipe
    assert "COPY --chown=airflow:0 dags " in recipe
    assert " include " not in recipe


def test_the_command_writes_a_folder_once(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "a.py").write_text("x = 1\n")
    (tmp_path / "fleet.yaml").write_text("name: one\n")
    argv = ["kubernetes", str(tmp_path), "--image", "r/airflow", "--output", str(tmp_path / "k8s")]
    invoke("export", *argv, catch_exceptions=False)
    values = yaml.safe_load((tmp_path / "k8s" / "values.yaml").read_text())
    assert values["images"]["airflow"]["tag"].startswith("r")
    jsonschema.validate(values, SCHEMA)
    with pytest.raises(UsageError, match="exists"):
        invoke("export", *argv, catch_exceptions=False)
