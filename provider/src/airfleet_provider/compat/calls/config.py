"""Airflow's configuration, and the facts that decide how a Dag file parses."""

from __future__ import annotations

import configparser
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Collection, Mapping
from pathlib import Path

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def read_setting(section: str, key: str, fallback: str = "") -> str:
    """Return a value of airflow.cfg or the environment."""
    from airflow.configuration import conf

    return str(conf.get(section, key, fallback=fallback))


def read_rules(section: str, key: str) -> str:
    """Return what `read_setting` returns for a setting of airfleet's own, in a tenth of the time.

    Airflow also looks for a former name, a default, a command and a secret, and such a setting has none of them. The
    policies read their rules for each task of each Dag file, which was a tenth of the time of a parse.
    """
    from airflow.configuration import conf, expand_env_var

    text = os.environ.get(f"AIRFLOW__{section.upper()}__{key.upper()}")
    return str(expand_env_var(configparser.ConfigParser.get(conf, section, key, fallback="") if text is None else text))


def add_variables(
    found: configparser.RawConfigParser, environ: Mapping[str, str], without: Collection[str] = ()
) -> None:
    """Add the settings of an environment to those of a file, over which they go; not those that `without` names."""
    for name, value in environ.items():
        _, section, key = (*name.split("__", 2), "", "")[:3]
        if name.startswith("AIRFLOW__") and key and name not in without:
            section = section.lower()
            if not found.has_section(section):
                found.add_section(section)
            found.set(section, key.lower(), value.replace("%", "%%"))


def storage_root() -> Path:
    """Return the folder that contains the folder of every bundle."""
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    return Path(get_bundle_storage_root_path())


def describe_environment() -> str:
    """Describe what else decides how a Dag file parses: Python, every installed package, the routing and the jitter."""
    installed = sorted({f"{one.name}=={one.version}" for one in importlib.metadata.distributions()})
    digest = hashlib.sha256("\n".join(installed).encode()).hexdigest()[:16]
    airflow = importlib.metadata.version("apache-airflow-core")
    routing = hashlib.sha256(read_setting("airfleet", "routing").encode()).hexdigest()[:16]
    python = ".".join(platform.python_version_tuple()[:2])
    jitter = read_setting("airfleet", "jitter")
    delays = f", jitter {hashlib.sha256(jitter.encode()).hexdigest()[:16]}" if jitter else ""
    return f"airflow {airflow}, python {python}, packages {digest}, routing {routing}{delays}"


def read_secret_key() -> str:
    """Return the key that all hosts of a platform share. They sign requests to each other with it."""
    from airflow.configuration import conf

    key: str = conf.get("api", "secret_key")
    return key


def read_heartbeat_timeout() -> float:
    """Return the seconds for which a task may be silent."""
    from airflow.configuration import conf

    return float(conf.getint("scheduler", "task_instance_heartbeat_timeout"))


def read_log_port() -> int:
    """Return the port at which worker hosts serve the logs of their tasks."""
    from airflow.configuration import conf

    return int(conf.getint("logging", "worker_log_server_port"))


def read_authorities() -> str | None:
    """Return the file of the certificates that the fleet's servers are verified with, or None for the system's."""
    from airflow.configuration import conf

    return str(conf.get("airfleet", "authorities", fallback="")) or None


def read_api_urls() -> list[str]:
    """Return the URLs to which tasks report: those of the fleet if airfleet set them, or the one of this host."""
    from airflow.configuration import conf
    from airflow.executors.base_executor import get_execution_api_server_url

    return str(conf.get("airfleet", "execution_apis", fallback="")).split() or [str(get_execution_api_server_url())]
