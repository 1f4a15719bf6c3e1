"""Rules of fleet.yaml that concern several values, or a value and its key.

The rules read the raw data. So a user sees their violations together with the errors of the model, not after them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from airfleet.spec import access_rules, fleet
from airfleet.spec.sections.references import BY_REFERENCE
from airfleet.spec.sections.section import is_secret_key
from airfleet.spec.yaml_document import Violation


def findings(data: Mapping[str, object]) -> Iterator[Violation]:
    """Yield the violations. A value of the wrong type yields none: the model reports it."""
    yield from _ports(_map(data.get("ports")))
    yield from _owned(_map(data.get("airflow")))
    yield from _own_database(data)
    if data.get("reporting") and not data.get("hosts"):
        hint = "remove this; on one machine, .airfleet/secrets/metadata_dsn has the URL of the metadata database"
        yield Violation(("reporting",), "only a fleet of hosts has a login for reports", hint)
    if data.get("broker") and not data.get("hosts") and data.get("executor") != "celery":
        hint = "add `executor: celery`, or remove this"
        yield Violation(("broker",), "tasks go through a broker with Celery only", hint)
    yield from access_rules.find_violations(_map(data.get("access")))
    yield from _limits(_map(data.get("limits")), _map(data.get("breakers")))
    yield from _archive(data)
    yield from _databases(data.get("databases"), _map(data.get("connections")))
    for name, connection in _map(data.get("connections")).items():
        if isinstance(connection, dict):
            yield from _connection(name, connection)


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _ports(ports: dict[str, Any]) -> Iterator[Violation]:
    taken = {ports.get("api", fleet.Ports().api): "the API"}
    for name, what in (("database", "the database"), ("metrics", "the agents")):
        port = ports.get(name)
        if isinstance(port, int) and port in taken:
            text = f"{taken[port]} already listens on port {port}"
            yield Violation(("ports", name), text, "choose another port")
        elif isinstance(port, int):
            taken[port] = what


def _owned(airflow: dict[str, Any]) -> Iterator[Violation]:
    for section, options in airflow.items():
        if section.lower() == "default":
            yield Violation(("airflow", section), "this section would set options of every other one", "name theirs")
        for option in _map(options):
            # Airflow ignores the case of names, and reads the option x also from x_cmd and x_secret.
            name = option.lower()
            for plain in (name, name.removesuffix("_cmd"), name.removesuffix("_secret")):
                if hint := fleet.OWNED_INSTEAD.get((section.lower(), plain)):
                    yield Violation(("airflow", section, option), "airfleet sets this option itself", hint)
                    break


# What fleet.yaml says of the PostgreSQL that airfleet runs on hosts.
_OF_AIRFLEETS_SERVER = {
    "backups": "somebody else runs PostgreSQL, so its backups are theirs",
    "replication": "somebody else runs PostgreSQL, so its replicas are theirs",
    "reporting": "airfleet makes no login for reports on a server that you run",
}


def _limits(limits: dict[str, Any], breakers: dict[str, Any]) -> Iterator[Violation]:
    """Yield the limits for which it is not clear which tasks they are for."""
    for name, one in limits.items():
        if not isinstance(one, Mapping):
            continue  # what it has to be is said elsewhere
        selects = any(_map(one).get(key) is not None for key in ("connection", "dag", "tag", "task"))
        if name in breakers and selects:
            what = f"this limit is for the tasks of the breaker {name!r}, and has expressions of its own"
            yield Violation(("limits", name), what, "remove its expressions, or give it another name")
        elif name not in breakers and not selects:
            hint = "write `connection`, `dag`, `tag` or `task`, or name the limit like one of `breakers`"
            yield Violation(("limits", name), "this limit is for no task", hint)


def _own_database(data: Mapping[str, object]) -> Iterator[Violation]:
    """Yield what does not go with a PostgreSQL that somebody else runs."""
    if not data.get("database"):
        return
    for key, what in _OF_AIRFLEETS_SERVER.items() if data.get("hosts") else ():
        if data.get(key):
            yield Violation((key,), what, "remove this line, or remove `database`")
    if data.get("databases"):
        hint = "make them there yourself, and name each under `connections`"
        yield Violation(("databases",), "airfleet makes no databases on a server that you run", hint)
    if data.get("executor") == "celery":
        hint = "leave out `executor`, or leave out `database`"
        yield Violation(("executor",), "Celery needs a database of its own, and airfleet makes none on yours", hint)
    if _map(data.get("ports")).get("database"):
        hint = "remove this line: the URL under `database` has the port"
        yield Violation(("ports", "database"), "airfleet runs no PostgreSQL that would listen there", hint)


def _archive(data: Mapping[str, object]) -> Iterator[Violation]:
    archive = _map(data.get("archive"))
    if data.get("hosts") and archive.get("every_hours") and not archive.get("store"):
        hint = "store: /a/folder/that/every/scheduler/host/sees, or a URL such as s3://bucket/runs"
        yield Violation(("archive", "every_hours"), "nothing says where archived runs are", hint)


def _databases(databases: object, connections: dict[str, Any]) -> Iterator[Violation]:
    names = [name for name in databases if isinstance(name, str)] if isinstance(databases, list) else []
    for name, count in Counter(names).items():
        if count > 1:
            yield Violation(("databases",), f"the database {name!r} is listed {count} times", "keep one")
        if name in connections:
            what = f"the database {name!r} already has a connection of this name"
            yield Violation(("connections", name), what, "remove this connection, or rename one of the two")


def _connection(name: str, connection: dict[str, Any]) -> Iterator[Violation]:
    others = [key for key in connection if key != "uri" and key in fleet.Connection.__dataclass_fields__]
    if "uri" in connection and others:
        what = f"`uri` stands alone, and here is {', '.join(others)} too"
        yield Violation(("connections", name, "uri"), what, "keep either `uri` or the other keys")
    if "uri" not in connection and "type" not in connection:
        hint = "add the connection type, such as `type: postgres`, or give a `uri` instead"
        yield Violation(("connections", name), "neither `type` nor `uri` is there", hint)
    for key, value in _map(connection.get("extra")).items():
        if isinstance(value, str) and is_secret_key(key):
            yield Violation(("connections", name, "extra", key), "fleet.yaml never holds a secret", BY_REFERENCE)
