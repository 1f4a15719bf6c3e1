"""Connections, variables and environment of fleet.yaml as environment variables of pods. Secrets are references."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airfleet.spec.fleet import Connection, Fleet
from airfleet.spec.secret_ref import SecretRef

# What Kubernetes allows as the name of an environment variable.
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
PLACEHOLDER = "<secret>"


@dataclass
class Environment:
    """`plain` has values; `secrets` has, for each variable, what to put into the Secret, with placeholders."""

    plain: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def name_object(fleet: Fleet, suffix: str) -> str:
    """Return the name of an object of Kubernetes. It may not have the underscores that a fleet's name may have."""
    return f"{fleet.name.replace('_', '-')}-{suffix}"


def build(fleet: Fleet) -> Environment:
    """Return the environment of every pod of Airflow."""
    found = Environment()
    for name, value in fleet.env.items():
        if isinstance(value, SecretRef):
            found.secrets[name] = PLACEHOLDER
        else:
            found.plain[name] = value
    for name in fleet.databases:
        _add(found, f"AIRFLOW_CONN_{name.upper()}", "postgresql://LOGIN:<secret>@HOST/" + name, is_secret=True)
    for name, connection in fleet.connections.items():
        text, is_secret = _write_connection(connection)
        _add(found, f"AIRFLOW_CONN_{name.upper()}", text, is_secret=is_secret)
    for key, variable in fleet.variables.items():
        is_secret = isinstance(variable, SecretRef)
        text = PLACEHOLDER if is_secret else variable if isinstance(variable, str) else json.dumps(variable)
        _add(found, f"AIRFLOW_VAR_{key.upper()}", str(text), is_secret=is_secret)
    return found


def _add(found: Environment, name: str, text: str, *, is_secret: bool) -> None:
    if not _NAME.fullmatch(name):
        found.left_out.append(f"{name}: Kubernetes does not allow this name; create it in Airflow's UI")
    elif is_secret:
        found.secrets[name] = text
    else:
        found.plain[name] = text


def _write_connection(one: Connection) -> tuple[str, bool]:
    """Return the connection as Airflow reads it, and whether it holds a placeholder of a secret."""
    if one.uri is not None:
        return (PLACEHOLDER, True) if isinstance(one.uri, SecretRef) else (one.uri, False)
    written: dict[str, Any] = {"conn_type": one.type, "host": one.host, "login": one.login, "port": one.port}
    written |= {"schema": one.schema, "password": PLACEHOLDER if one.password else None}
    extra, is_hidden = _hide(one.extra)
    written = {key: value for key, value in written.items() if value is not None} | ({"extra": extra} if extra else {})
    return json.dumps(written), bool(one.password) or is_hidden


def _hide(extra: Mapping[str, object | SecretRef]) -> tuple[dict[str, object], bool]:
    hidden = {key: PLACEHOLDER if isinstance(value, SecretRef) else value for key, value in extra.items()}
    return hidden, any(isinstance(value, SecretRef) for value in extra.values())
