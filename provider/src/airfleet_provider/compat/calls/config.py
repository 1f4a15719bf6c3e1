"""Airflow's configuration, and what else decides how a Dag file parses."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import platform
from pathlib import Path

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def read_setting(section: str, key: str, fallback: str = "") -> str:
    """A value of airflow.cfg or the environment."""
    from airflow.configuration import conf

    return str(conf.get(section, key, fallback=fallback))


def storage_root() -> Path:
    """The folder below which every bundle has its own."""
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    return Path(get_bundle_storage_root_path())


def describe_environment() -> str:
    """What decides, beside the files of a release, how a Dag file parses: Python, every installed package, routing."""
    installed = sorted({f"{one.name}=={one.version}" for one in importlib.metadata.distributions()})
    digest = hashlib.sha256("\n".join(installed).encode()).hexdigest()[:16]
    airflow = importlib.metadata.version("apache-airflow-core")
    routing = hashlib.sha256(read_setting("airfleet", "routing").encode()).hexdigest()[:16]
    python = ".".join(platform.python_version_tuple()[:2])
    return f"airflow {airflow}, python {python}, packages {digest}, routing {routing}"


def read_secret_key() -> str:
    """The key that all hosts of a platform share, with which they sign what they ask of each other."""
    from airflow.configuration import conf

    key: str = conf.get("api", "secret_key")
    return key


def read_heartbeat_timeout() -> float:
    """How long a task may be silent."""
    from airflow.configuration import conf

    return float(conf.getint("scheduler", "task_instance_heartbeat_timeout"))


def read_log_port() -> int:
    """Where worker hosts serve the logs of their tasks."""
    from airflow.configuration import conf

    return int(conf.getint("logging", "worker_log_server_port"))


def read_api_urls() -> list[str]:
    """Where tasks report: what airfleet says of a fleet, and else what this host's tasks are told."""
    from airflow.configuration import conf
    from airflow.executors.base_executor import get_execution_api_server_url

    return str(conf.get("airfleet", "execution_apis", fallback="")).split() or [str(get_execution_api_server_url())]
