"""The routing of fleet.yaml as an airflow_local_settings.py, for an Airflow without airfleet's provider."""

from __future__ import annotations

import json
from collections.abc import Collection

from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import DEFAULT_QUEUE, WorkerPool

_CODE = '''\
"""Written by `airfleet export kubernetes`: the queue of each task, and the tasks that run in pods of their own."""

import json
import re

from airflow.exceptions import AirflowClusterPolicyViolation

ROUTING = json.loads(r"""
{routing}
""")


def task_policy(task):
    config = task.executor_config or {{}}
    if task.queue == ROUTING["default"]:
        task.queue = _choose(task, config)
    pod = ROUTING["pods"].get(task.queue)
    if pod is None or task.executor or "pod_override" in config:
        return
    from kubernetes.client import models

    task.executor = ROUTING["executor"] or None
    resources = models.V1ResourceRequirements(requests=pod, limits=pod)
    containers = [models.V1Container(name="base", resources=resources)]
    task.executor_config = dict(config, pod_override=models.V1Pod(spec=models.V1PodSpec(containers=containers)))


def _choose(task, config):
    hint = config.get("airfleet")
    pool = hint.get("pool") if isinstance(hint, dict) else None
    if pool is not None:
        if pool not in ROUTING["pools"]:
            raise AirflowClusterPolicyViolation(f"{{task.dag_id}}.{{task.task_id}}: no worker pool {{pool!r}}")
        return ROUTING["pools"][pool]
    for rule in ROUTING["rules"]:
        pairs = ((rule["dag"], task.dag_id), (rule["task"], task.task_id), (rule["operator"], task.task_type))
        if all(re.fullmatch(pattern, text) for pattern, text in pairs):
            return rule["queue"]
    return task.queue
'''


def render(fleet: Fleet, pods: Collection[str]) -> str:
    """Return the file. Tasks of the pools `pods` run in pods, those of the other pools on Celery workers."""
    routing = {
        "default": DEFAULT_QUEUE,
        "pools": {pool.name: pool.queues[0] for pool in fleet.pools},
        "rules": [
            {"queue": one.queue, "dag": one.dag, "task": one.task, "operator": one.operator} for one in fleet.routing
        ],
        "pods": {queue: limit(pool) for pool in fleet.pools if pool.name in pods for queue in pool.queues},
        # With one executor only, a task must not name it.
        "executor": "KubernetesExecutor" if len(pods) < len(fleet.pools) else "",
    }
    return _CODE.format(routing=json.dumps(routing, indent=1))


def limit(pool: WorkerPool, tasks: int | None = None) -> dict[str, str]:
    """Return the resources of a pod that runs so many tasks of the pool; None means one task.

    A host of the pool shares its limits among `concurrency` tasks. A pod gets the same share for each task.
    """
    share = (tasks or 1) / pool.concurrency
    found: dict[str, str] = {}
    if pool.limits.cpus is not None:
        found["cpu"] = f"{max(1, round(pool.limits.cpus * share * 1000))}m"
    if pool.limits.memory is not None:
        found["memory"] = f"{max(1, round(pool.limits.memory * share / (1 << 20)))}Mi"
    return found
