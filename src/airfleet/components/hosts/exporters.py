"""Prometheus exporters for the machine and for PostgreSQL. Other hosts read them through the port of `metrics`."""

from __future__ import annotations

from collections.abc import Mapping

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import (
    ETC,
    POSTGRES,
    HostFile,
    Part,
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.hosts import metrics
from airfleet.spec.addresses import join_port
from airfleet.spec.secrets import find_login


def describe_machine(place: Place) -> Part:
    """Describe the exporter of the machine's metrics."""
    # node_exporter reads the mounted file systems from /proc/1, which belongs to root.
    sandbox = {"ProtectProc": "default", "ProtectHome": "read-only"}
    return _describe(place, "node-exporter", "metrics of this machine", metrics.NODE, sandbox=sandbox)


def describe_postgresql(place: Place) -> Part:
    """Describe the exporter of PostgreSQL's metrics. Its database role sees statistics only."""
    password = place.credentials.monitor
    login = f"{find_login('monitor', password)}:{password.reveal()}"
    dsn = f"postgresql://{login}@127.0.0.1:{POSTGRES}/airflow?sslmode=disable"
    secret = private(ETC / "postgres-exporter.env", f"DATA_SOURCE_NAME={dsn}\n", "root")
    return _describe(place, "postgres-exporter", "metrics of PostgreSQL", metrics.POSTGRESQL, secret)


def _describe(
    place: Place,
    name: str,
    what: str,
    exporter: metrics.HostExporter,
    *secrets: HostFile,
    sandbox: Mapping[str, str] | None = None,
) -> Part:
    service = Service(
        name=name,
        what=what,
        stage=Stage.EDGE,
        command=(
            f"/usr/bin/prometheus-{name}",
            f"--web.listen-address={join_port(metrics.find_listener(place), exporter.port)}",
        ),
        user="prometheus",
        files=secrets,
        env_files=tuple(secret.path for secret in secrets),
        health=TcpCheck(exporter.port, metrics.find_own_address(place)),
        sandbox=sandbox or {},
    )
    return Part(
        name=name,
        packages=(f"prometheus-{name}",),
        masks=(f"prometheus-{name}.service",),
        files=secrets,
        services=(service,),
        ports=metrics.open_port(place, exporter, what),
    )
