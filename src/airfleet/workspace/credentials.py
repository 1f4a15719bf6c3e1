"""The secrets of one fleet, made once on the control machine and kept in the project's state folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from airfleet.components.host_model import FleetCredentials
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.spec.secrets import Secret
from airfleet.workspace.rotation import RotationLedger, present
from airfleet.workspace.state_folder import StateFolder

# What earlier versions called the logins of all workers and of the scheduler; the first is a mark, too.
FORMER_RESULTS = "postgres_celery"
POOL = "rabbitmq_pool_"
FORMER = ("rabbitmq_worker", "rabbitmq_scheduler", FORMER_RESULTS)


def read(
    folder: StateFolder, rotations: RotationLedger, databases: tuple[str, ...], pools: Iterable[str]
) -> FleetCredentials:
    """All secrets, each made when it is first asked for; to remove a file is to rotate its secret.

    A secret whose file has another value than the hosts have is given as the present step of its rotation wants it.
    """

    listed = tuple(pools)

    def show(name: str, secret: Secret) -> Secret:
        return present(rotations.notice(name, secret))

    def keep(name: str) -> Secret:
        return show(name, folder.keep_secret(name))

    platform = folder.read_credentials(databases, show)
    credentials = FleetCredentials(
        platform=platform,
        replication=keep("postgres_replicator"),
        monitor=keep("postgres_monitor"),
        erlang_cookie=keep("erlang_cookie"),
        # Of the key that the first hosts were made with; it stays when that key is rotated, and tells nothing about it.
        identity=folder.keep_secret("identity", lambda: _identify(platform.fernet_key)).reveal(),
        results=ResultLogins(keep("postgres_results_writer"), keep("postgres_results_reader")),
        publisher=keep("rabbitmq_publisher"),
        consumers={pool: keep(f"{POOL}{pool}") for pool in listed},
        signing=keep("signing_key"),
        former_results=folder.keep_secret(FORMER_RESULTS) if (folder.secrets / FORMER_RESULTS).exists() else None,
        former_pools=list_former_pools(folder, listed),
    )
    rotations.write()
    return credentials


def _identify(key: Secret) -> str:
    return hashlib.sha256(b"airfleet " + key.reveal().encode()).hexdigest()[:16]


def list_former_pools(folder: StateFolder, pools: Iterable[str]) -> tuple[str, ...]:
    """The pools that fleet.yaml no longer names, and whose logins the broker still has."""
    found = (re.fullmatch(f"{POOL}([A-Za-z0-9_-]+)", path.name) for path in folder.secrets.glob(f"{POOL}*"))
    return tuple(sorted({one[1] for one in found if one} - set(pools)))


def describe_former(folder: StateFolder, pools: Iterable[str]) -> tuple[str, ...]:
    """The logins that some worker may still use though nothing begins with them any more, a line for each kind."""
    gone = list_former_pools(folder, pools)
    return (
        *(("the logins that earlier versions shared",) if (folder.secrets / FORMER_RESULTS).exists() else ()),
        *((f"the broker's logins of pools that are gone: {', '.join(gone)}",) if gone else ()),
    )


def retire_former(folder: StateFolder, rotations: RotationLedger, pools: Iterable[str]) -> None:
    """Forget those logins, once nobody uses them; the next steps remove them from broker and database."""
    names = (*FORMER, *(f"{POOL}{pool}" for pool in list_former_pools(folder, pools)))
    rotations.forget(names)
    # Last: as long as its file is there, the next apply forgets a login again.
    for name in names:
        (folder.secrets / name).unlink(missing_ok=True)
