"""Prepare a process that executes Dag files: it gets Airflow's settings without secrets, and no database."""

from __future__ import annotations

import configparser
import io
import logging
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from airfleet_provider.compat.calls import config

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# Sections with the addresses and logins of databases, brokers and secrets back ends.
CLOSED_SECTIONS = frozenset({"database", "celery", "celery_broker_transport_options", "secrets"})
CLOSED_KEYS = frozenset({("workers", "secrets_backend"), ("workers", "secrets_backend_kwargs")})
# Airflow also reads a sensitive setting from a command or a secrets back end.
INDIRECT = ("_cmd", "_secret")
# A setting whose value contains a secret of at least this length is secret too. Shorter secrets may be plain words.
LONG_ENOUGH = 8
MOST_KEYS = 1_000_000
TALKATIVE = ("airflow.dag_processing", "airflow.models", "airflow.serialization")


def render_open_settings(without: Collection[str] = ()) -> str:
    """Return the text of an airflow.cfg with all settings of this process, without those that are secret.

    Variables of the environment that `without` names are left out.
    """
    from airflow.configuration import AIRFLOW_CONFIG, conf

    found = configparser.RawConfigParser()
    found.read(AIRFLOW_CONFIG)
    config.add_variables(found, os.environ, without)
    sensitive = {(section.lower(), key.lower()) for section, key in conf.sensitive_config_values} | CLOSED_KEYS
    secrets: set[str] = set()
    for section in found.sections():
        for key, value in found.items(section):
            names = {key, *(key.removesuffix(end) for end in INDIRECT)}
            if section in CLOSED_SECTIONS or sensitive.intersection((section, name) for name in names):
                found.remove_option(section, key)
                secrets.add(value)
    long = {value for value in secrets if len(value) >= LONG_ENOUGH}
    for section in found.sections():
        for key, value in found.items(section):
            if any(secret in value for secret in long):
                found.remove_option(section, key)
    text = io.StringIO()
    found.write(text)
    return text.getvalue()


def write_open_settings(path: Path, without: Collection[str] = ()) -> None:
    """Write these settings to a file, atomically."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f"{path.name}.", delete=False) as draft:
        draft.write(render_open_settings(without))
    Path(draft.name).replace(path)


def list_open_environment(settings: Path) -> dict[str, str]:
    """Return the environment for a process that executes Dag files: that of this process without Airflow's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")}
    return {**kept, "AIRFLOW_CONFIG": str(settings), "_AIRFLOW_PROCESS_CONTEXT": "client"}


def seal_memory() -> None:
    """Keep other processes of the same user from reading the memory and the environment of this process."""
    from airflow.sdk.execution_time.supervisor import _make_process_nondumpable

    _make_process_nondumpable()


def prepare_parser() -> None:
    """Import the modules that every Dag file needs."""
    import airflow.dag_processing.dagbag
    import airflow.models.serialized_dag
    import airflow.providers.standard.operators.bash
    import airflow.providers.standard.operators.empty
    import airflow.providers.standard.operators.python
    import airflow.sdk.execution_time.supervisor
    import airflow.sdk.execution_time.task_runner
    import airflow.serialization.serialized_objects  # noqa: F401
    from airflow._shared.logging.structlog import PER_LOGGER_LEVELS

    PER_LOGGER_LEVELS.update(dict.fromkeys(TALKATIVE, logging.WARNING))


def look_up(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variable or connection that a Dag file looks up, as JSON. The result is empty if it does not exist.

    A database or a secrets back end that does not answer is an error. Otherwise the Dag would be parsed with a default,
    and the result kept. A lookup that no database can answer is not an error, because it would keep all other files
    from being published.
    """
    match question:
        case {"kind": "variable", "name": str(name)} if _can_be(name):
            value = _ask_backends("get_variable", name)
            return {} if value is None else {"value": value}
        case {"kind": "connection", "name": str(name)} if _can_be(name):
            found = _ask_backends("get_connection", name)
            return {} if found is None else _describe_connection(name, found)
        case {"kind": "variable_keys", "prefix": str(prefix), "limit": int(limit), "offset": int(offset)} if (
            _can_be(prefix) and 0 <= limit <= MOST_KEYS and 0 <= offset <= MOST_KEYS
        ):
            return _list_variables(prefix, limit, offset)
    return {}


def _can_be(name: str) -> bool:
    """Return whether a row in a database can have this name."""
    return "\0" not in name and name.encode(errors="replace").decode() == name


def _ask_backends(method: str, name: str) -> Any:  # noqa: ANN401 - a value or a connection
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    failure: Exception | None = None
    for backend in ensure_secrets_backend_loaded():
        try:
            if (found := getattr(backend, method)(name)) is not None:
                return found
        except Exception as error:
            failure = failure or error
    if failure:
        raise failure
    return None


def _describe_connection(name: str, found: Any) -> dict[str, Any]:  # noqa: ANN401 - Airflow's or the task SDK's
    return {
        "conn_id": name,
        "conn_type": found.conn_type,
        "host": found.host,
        "schema": found.schema,
        "login": found.login,
        "password": found.password,
        "port": found.port,
        "extra": found.extra,
    }


def _list_variables(prefix: str, limit: int, offset: int) -> dict[str, Any]:
    from airflow.models import Variable
    from sqlalchemy import func, select

    from airfleet_provider.compat.calls import metadata_db

    matching = Variable.key.startswith(prefix, autoescape=True)
    with metadata_db.open_session() as session:
        keys = session.scalars(select(Variable.key).where(matching).order_by(Variable.key).limit(limit).offset(offset))
        total = session.scalar(select(func.count()).select_from(Variable).where(matching))
        return {"keys": list(keys), "total_entries": total}
