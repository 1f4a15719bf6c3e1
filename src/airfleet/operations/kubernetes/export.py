"""The files with which the official Helm chart of Airflow runs what a fleet runs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib import resources
from typing import Any

import yaml

from airfleet.components import monitoring
from airfleet.components.monitoring import rule_files
from airfleet.errors import UsageError
from airfleet.operations.kubernetes import environment, guide, routing
from airfleet.operations.kubernetes.environment import Environment, name_object
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import DEFAULT_QUEUE, WorkerPool
from airfleet_provider.contract import release_archive

CHART = "1.22.0"
# Rules and boards about tasks and Dags. The others are about hosts, RabbitMQ and Patroni.
RULES = ("recording.yaml", "tasks.yaml")
BOARDS = ("airfleet-dags.json", "airfleet-latency.json", "airfleet-pools.json")
_NOTE = "# Written by `airfleet export kubernetes`.\n"


def build(
    fleet: Fleet, *, airflow: str, release: str, repository: str, pods: Collection[str], files: Collection[str]
) -> Mapping[str, str]:
    """Return all files by name. Tasks of the pools `pods` run in pods of their own; `files` are files of the project.

    Raises:
        UsageError: `pods` names a pool that fleet.yaml does not have.
    """
    known = [pool.name for pool in fleet.pools]
    if unknown := sorted(set(pods) - set(known)):
        raise UsageError(f"no pool {unknown[0]}", hint=f"pools: {', '.join(known)}")
    found = environment.build(fleet)
    values = list_values(fleet, found, airflow=airflow, release=release, repository=repository, pods=pods)
    return {
        "values.yaml": f"{_NOTE}# For the chart `airflow`, version {CHART} or later.\n{_dump(values)}",
        "Dockerfile": _write_image(airflow, release, fleet.requirements or "requirements.txt", files),
        "prometheus-rules.yaml": _NOTE + _dump(_describe_rules(fleet)),
        "dashboards.yaml": _NOTE + yaml.safe_dump_all(_describe_boards(fleet), sort_keys=False),
        "slot-pools.json": _write_slot_pools(fleet),
        "README.md": guide.write(fleet, values, found, chart=CHART, repository=repository, pods=pods),
    }


def list_values(
    fleet: Fleet, found: Environment, *, airflow: str, release: str, repository: str, pods: Collection[str]
) -> dict[str, Any]:
    """Return the values of the chart."""
    celery = [pool for pool in fleet.pools if pool.name not in pods]
    executors = [*(["CeleryExecutor"] if celery else []), *(["KubernetesExecutor"] if pods else [])]
    values: dict[str, Any] = {
        "airflowVersion": airflow,
        "defaultAirflowTag": airflow,
        "executor": ",".join(executors),
        "images": {"airflow": {"repository": repository, "tag": release_archive.shorten(release)}},
        "fernetKeySecretName": name_object(fleet, "fernet-key"),
        "apiSecretKeySecretName": name_object(fleet, "api-secret-key"),
        "jwtSecretName": name_object(fleet, "jwt-secret"),
        "data": {"metadataSecretName": name_object(fleet, "metadata")},
        "postgresql": {"enabled": False},
        "redis": {"enabled": False},
        # The chart's default is the user admin with the password admin.
        "createUserJob": {"enabled": False},
        "scheduler": {"replicas": fleet.schedulers},
        "apiServer": {"replicas": max(1, len(fleet.with_role("web")))},
        "dagProcessor": {"enabled": True},
        "config": _list_options(fleet),
        "airflowLocalSettings": _escape(routing.render(fleet, pods)),
    }
    if celery:
        values["data"]["brokerUrlSecretName"] = name_object(fleet, "broker")
        values["workers"] = {
            "celery": {"enableDefault": False, "sets": [_describe_set(fleet, pool) for pool in celery]}
        }
    if found.plain:
        values["env"] = [{"name": name, "value": value} for name, value in found.plain.items()]
    if found.secrets:
        values["secret"] = [
            {"envName": name, "secretName": name_object(fleet, "environment"), "secretKey": name}
            for name in found.secrets
        ]
    return values


def _list_options(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Return the options that fleet.yaml sets. The chart fills in its own."""
    options = {section: dict(values) for section, values in fleet.airflow.items()}
    options.setdefault("core", {})["parallelism"] = str(fleet.parallelism)
    options.setdefault("operators", {})["default_queue"] = DEFAULT_QUEUE
    return options


def _describe_set(fleet: Fleet, pool: WorkerPool) -> dict[str, Any]:
    """Return a set of Celery workers: one pod for each host of the pool, with the pool's limits on a host."""
    limits = routing.limit(pool, pool.concurrency)
    return {
        "name": pool.name.replace("_", "-"),
        "queue": ",".join(pool.queues),
        "replicas": max(1, sum(pool.name in host.pools for host in fleet.with_role("worker"))),
        "terminationGracePeriodSeconds": pool.drain_s,
        "env": [{"name": "AIRFLOW__CELERY__WORKER_CONCURRENCY", "value": str(pool.concurrency)}],
        **({"resources": {"requests": limits, "limits": limits}} if limits else {}),
    }


def _escape(text: str) -> str:
    """Return a text that the chart's templating turns into this text."""
    return text.replace("{{", '{{ "{{" }}')


def _write_image(airflow: str, release: str, requirements: str, files: Collection[str]) -> str:
    lines = [
        f"{_NOTE}# The image of one release. Build it in the project's folder, at the commit of the release.",
        f"FROM apache/airflow:{airflow}",
        f'LABEL airfleet.release="{release}"',
    ]
    if requirements in files:
        lines += [
            f"COPY --chown=airflow:0 {requirements} /tmp/requirements.txt",
            f"RUN pip install --no-cache-dir 'apache-airflow=={airflow}' -r /tmp/requirements.txt",
        ]
    lines += [
        "# Dags import `include.…`, as on a fleet.",
        "ENV PYTHONPATH=/opt/airflow",
        "COPY --chown=airflow:0 dags /opt/airflow/dags",
    ]
    if "include" in files:
        lines.append("COPY --chown=airflow:0 include /opt/airflow/include")
    return "\n".join(lines) + "\n"


def _describe_rules(fleet: Fleet) -> dict[str, Any]:
    texts = rule_files.read_shipped()
    groups = [group for name in RULES for group in yaml.safe_load(texts[name])["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": name_object(fleet, "airfleet")},
        "spec": {"groups": groups},
    }


def _describe_boards(fleet: Fleet) -> list[dict[str, Any]]:
    folder = resources.files(monitoring) / "dashboards"
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name_object(fleet, name.removesuffix(".json")),
                "labels": {"grafana_dashboard": "1"},
            },
            "data": {name: (folder / name).read_text()},
        }
        for name in BOARDS
    ]


def _write_slot_pools(fleet: Fleet) -> str:
    pools = {
        name: {"slots": one.slots, "description": one.description, "include_deferred": one.include_deferred}
        for name, one in fleet.slot_pools.items()
    }
    return json.dumps(pools, indent=2) + "\n"


def _dump(content: dict[str, Any]) -> str:
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that a reader can read the code in them."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)
