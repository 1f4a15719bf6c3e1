"""The fleet of the drills: eight machines. For the comparison with stock, Airflow's own settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from machines import Bed

PACKAGES = (
    *("etcd-client", "etcd-server", "haproxy", "nftables", "pgbackrest", "pgbouncer", "postgresql-15"),
    *("prometheus-node-exporter", "prometheus-postgres-exporter", "rabbitmq-server"),
)
# Two hosts for every role that a drill may break, and three brokers. No drill breaks two roles of a shared host.
ROLES = {
    "mq1": "roles: [broker]",
    "web1": "roles: [web, balancer, broker]",
    "sched1": "roles: [scheduler]",
    "sched2": "roles: [scheduler]",
    "work1": "pools: [default]",
    "work2": "pools: [default]",
    "data1": "roles: [database]",
    "data2": "roles: [database, web, broker]",
}
SETTINGS = "pools:\n  default: {concurrency: 12}\nreplication: synchronous\n"
STOCK_IS = (
    "the same machines, releases, executor, warm task runtime and services, with Airflow's own values of every setting "
    "that decides survival, its own result backend, and two plain schedulers, both active; with Airflow's own executor "
    "and task runtime as well, these two cores cannot hold one task a second"
)
_STOCK = {
    "workers": {
        "execution_api_retries": "5",
        "execution_api_retry_wait_max": "90",
        "execution_api_timeout": "5",
        "max_failed_heartbeats": "3",
    },
    "scheduler": {
        "task_instance_heartbeat_timeout": "300",
        "orphaned_tasks_check_interval": "300",
        "task_queued_timeout": "600",
    },
    "execution_api": {"jwt_expiration_time": "600"},
    "celery": {"task_publish_max_retries": "3", "extra_celery_config": json.dumps({"worker_soft_shutdown_timeout": 0})},
    "celery_broker_transport_options": {"confirm_publish": "False"},
}


def write_project(project: Path, bed: Bed, *, is_stock: bool, roles: Mapping[str, str] = ROLES) -> None:
    """Write a project whose fleet.yaml names the machines of a bed. Its only Dag is one that never runs."""
    (project / "dags").mkdir(exist_ok=True)
    (project / "dags" / "quiet.py").write_text(_DAG)
    lines = [f"  {name}: {{address: {bed[name].address}, {of}}}" for name, of in roles.items()]
    ssh = f"ssh: {{user: ops, key: {bed.layout.key}, known_hosts: {bed.layout.known_hosts}}}"
    stock = [f"airflow: {json.dumps(_STOCK)}", "scheduler_mode: active-active"] if is_stock else []
    (project / "fleet.yaml").write_text("\n".join(["name: drilled", ssh, "hosts:", *lines, SETTINGS, *stock, ""]))


_DAG = """\
from airflow.sdk import dag, task


@dag(schedule=None, default_args={"owner": "drills", "retries": 1})
def quiet():
    @task
    def nothing():
        return None

    nothing()


quiet()
"""
