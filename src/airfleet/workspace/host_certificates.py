"""The certificates of a fleet's hosts, kept on the control machine beside the secrets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from airfleet.components.host_model import Encryption, HostCertificate, TlsProgress
from airfleet.spec.addresses import write_dotted
from airfleet.spec.secrets import Secret, list_accepted
from airfleet.spec.topology import Host
from airfleet.workspace import certificate_authority
from airfleet.workspace.certificate_authority import Authority
from airfleet.workspace.state_folder import StateFolder, write_file

FOLDER = "tls"


def read(
    folder: StateFolder,
    authority: Secret,
    hosts: Iterable[Host],
    now: datetime,
    *,
    broker: Secret,
    api: Secret,
    agents: Secret,
    logs: Secret,
    metrics: Secret,
    cluster: Secret,
) -> Encryption:
    """Return how the hosts encrypt, with a certificate for each host. A certificate that is due is issued again.

    `authority` and the keywords hold the values of the present step of their rotations. A value is empty where hosts go
    without TLS: `authority` for the database, `broker` for RabbitMQ, `api` for the servers of web hosts, `agents`
    for the agents, `logs` for the servers of task logs, `metrics` for exporters, and `cluster` for RabbitMQ's nodes.

    Raises:
        AirfleetError: A file does not hold an authority.
    """
    where = str(folder.secrets)
    accepted = list_accepted(authority)
    known = [certificate_authority.load(one, where=where) for one in accepted if one.reveal()]
    own = folder.secrets / FOLDER
    own.mkdir(mode=0o700, exist_ok=True)
    return Encryption(
        trusted="".join(sorted(one.pem for one in known)),
        certificates={host.name: _keep(own / f"{host.name}.pem", known[0], host, now) for host in hosts},
        is_used=bool(authority.reveal()),
        is_required=all(one.reveal() for one in accepted),
        broker=_find_progress(broker),
        api=_find_progress(api),
        agents=_find_progress(agents),
        logs=_find_progress(logs),
        metrics=_find_progress(metrics),
        cluster=_find_progress(cluster),
    )


def _find_progress(value: Secret) -> TlsProgress:
    return TlsProgress(bool(value.reveal()), all(one.reveal() for one in list_accepted(value)))


def _list_names(host: Host) -> tuple[str, ...]:
    """Return the names of a host beside its own. Nodes of RabbitMQ have a form of IPv6 addresses of their own."""
    return tuple(dict.fromkeys((host.address, write_dotted(host.address))))


def _keep(path: Path, authority: Authority, host: Host, now: datetime) -> HostCertificate:
    held = _load(path)
    if held is None or certificate_authority.is_due(held, authority, host.name, _list_names(host), now):
        held = certificate_authority.issue(authority, host.name, _list_names(host), now)
        write_file(path, held.key.reveal() + held.certificate)
    return held


def _load(path: Path) -> HostCertificate | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    key, mark, certificate = text.partition("-----BEGIN CERTIFICATE-----")
    return HostCertificate(mark + certificate, Secret(key))
