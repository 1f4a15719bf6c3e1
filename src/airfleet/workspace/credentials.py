"""The secrets of one fleet. The control machine makes each once and keeps it in the project's state folder."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from airfleet.components.host_model import ClusterLogins, FleetCredentials
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.errors import AirfleetError
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.workspace import applied_hosts, certificate_authority, host_certificates, rotation
from airfleet.workspace.rotation import RotationLedger, present
from airfleet.workspace.state_folder import StateFolder

# The logins that all workers and the scheduler shared in earlier versions. If the file FORMER_RESULTS exists, some
# process may still use them.
FORMER_RESULTS = "postgres_celery"
AUTHORITY = "tls_authority"
# TLS for RabbitMQ, web hosts, the agents, logs, metrics and RabbitMQ's nodes have rotations of their own, from none to
# a scheme: other servers of a fleet may have TLS already.
BROKER_TLS, BROKER_SCHEME = "tls_rabbitmq", "amqps"
API_TLS, API_SCHEME = "tls_api", "https"
AGENTS_TLS, AGENTS_SCHEME = "tls_agents", "https"
LOGS_TLS, LOGS_SCHEME = "tls_logs", "https"
METRICS_TLS, METRICS_SCHEME = "tls_metrics", "https"
CLUSTER_TLS, CLUSTER_SCHEME = "tls_cluster", "inet_tls"
# Entries of the ledger that are no secrets: they say how far the introduction of TLS came.
INTRODUCED = (BROKER_TLS, API_TLS, AGENTS_TLS, LOGS_TLS, METRICS_TLS, CLUSTER_TLS)
POOL = "rabbitmq_pool_"
FORMER = ("rabbitmq_worker", "rabbitmq_scheduler", FORMER_RESULTS)


def read(
    folder: StateFolder, rotations: RotationLedger, fleet: Fleet, *, clock: Callable[[], float] = time.time
) -> FleetCredentials:
    """Return all secrets of a fleet, and make those that do not exist.

    If a file of a secret has another value than the hosts have, or was removed, a rotation starts. During a rotation,
    each secret holds the values that the current step of the rotation needs. Writes `rotations.json`.

    Raises:
        AirfleetError: Hosts have values that no ledger of rotations knows, because both of its files are gone.
    """

    listed = tuple(pool.name for pool in fleet.pools)
    now = datetime.fromtimestamp(clock(), UTC)

    # Hosts of an earlier version speak without encryption, and sign tokens with the shared secret.
    is_introduced = bool(applied_hosts.read(folder.root))

    def show(name: str, secret: Secret) -> Secret:
        return present(rotations.notice_platform(name, secret, is_at_work=is_introduced))

    def keep(name: str) -> Secret:
        return show(name, folder.keep_secret(name))

    if is_introduced and rotations.is_missing and (folder.secrets / AUTHORITY).exists():
        raise AirfleetError(
            "the ledger of secrets is gone, and only it knows which values the hosts have",
            where=str(folder.secrets / rotation.NAME),
            hint=f"put it back from a copy of the state folder; {rotation.COPY} beside it has the same content",
        )
    platform = folder.read_credentials(fleet.databases, show)
    authority = folder.keep_secret(AUTHORITY, lambda: certificate_authority.create(fleet.name, now).reveal())

    def introduce(name: str, value: Secret) -> Secret:
        return present(rotations.notice(name, value, is_introduced=is_introduced))

    credentials = FleetCredentials(
        platform=platform,
        replication=keep("postgres_replicator"),
        monitor=keep("postgres_monitor"),
        erlang_cookie=keep("erlang_cookie"),
        # A digest of the first Fernet key. It does not change when the key is rotated, and does not reveal the key.
        identity=folder.keep_secret("identity", lambda: _identify(platform.fernet_key)).reveal(),
        results=ResultLogins(keep("postgres_results_writer"), keep("postgres_results_reader")),
        publisher=keep("rabbitmq_publisher"),
        consumers={pool: keep(f"{POOL}{pool}") for pool in listed},
        signing=keep("signing_key"),
        cluster=ClusterLogins(
            etcd_root=keep("etcd_root"),
            etcd=keep("etcd_patroni"),
            rest=keep("patroni_rest"),
            rewinder=keep("postgres_rewinder"),
        ),
        encryption=host_certificates.read(
            folder,
            introduce(AUTHORITY, authority),
            fleet.hosts,
            now,
            broker=introduce(BROKER_TLS, Secret(BROKER_SCHEME)),
            api=introduce(API_TLS, Secret(API_SCHEME)),
            agents=introduce(AGENTS_TLS, Secret(AGENTS_SCHEME)),
            logs=introduce(LOGS_TLS, Secret(LOGS_SCHEME)),
            metrics=introduce(METRICS_TLS, Secret(METRICS_SCHEME)),
            cluster=introduce(CLUSTER_TLS, Secret(CLUSTER_SCHEME)),
        ),
        former_results=folder.keep_secret(FORMER_RESULTS) if (folder.secrets / FORMER_RESULTS).exists() else None,
        former_pools=list_former_pools(folder, listed),
    )
    rotations.write()
    return credentials


def _identify(key: Secret) -> str:
    return hashlib.sha256(b"airfleet " + key.reveal().encode()).hexdigest()[:16]


def list_former_pools(folder: StateFolder, pools: Iterable[str]) -> tuple[str, ...]:
    """Return the pools that fleet.yaml no longer names and that still have a login at the broker."""
    found = (re.fullmatch(f"{POOL}([A-Za-z0-9_-]+)", path.name) for path in folder.secrets.glob(f"{POOL}*"))
    return tuple(sorted({one[1] for one in found if one} - set(pools)))


def describe_former(folder: StateFolder, pools: Iterable[str]) -> tuple[str, ...]:
    """Return a line for each kind of login that no new process uses, but that a running worker may still use."""
    gone = list_former_pools(folder, pools)
    return (
        *(("the logins that earlier versions shared",) if (folder.secrets / FORMER_RESULTS).exists() else ()),
        *((f"the broker's logins of removed pools: {', '.join(gone)}",) if gone else ()),
    )


def retire_former(folder: StateFolder, rotations: RotationLedger, pools: Iterable[str]) -> None:
    """Delete the secrets of the logins that `describe_former` lists. Call it when no process uses them any more.

    The steps of the next plan remove the logins from the broker and the database.
    """
    names = (*FORMER, *(f"{POOL}{pool}" for pool in list_former_pools(folder, pools)))
    rotations.forget(names)
    # The files go last: while the file of a login exists, the next apply repeats the removal.
    for name in names:
        (folder.secrets / name).unlink(missing_ok=True)
