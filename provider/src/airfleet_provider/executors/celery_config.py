"""The Celery configuration of every process of a platform: Airflow's own, plus settings that isolate hosts.

The queues exist at the broker: no client declares, binds or removes a queue. Workers accept no remote control and send
no events. `AIRFLEET_CELERY` names the file with the logins and keys of this process.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kombu.entity import Exchange, Queue

from airfleet_provider.contract import environment
from airfleet_provider.network import verified_amqp

WORKER = "airfleet_provider.executors.celery_worker"


@dataclass(frozen=True, slots=True)
class BrokerCredentials:
    """The logins and keys that this process may use; empty for a process that handles no tasks.

    `authorities` is the file of the certificates that brokers with TLS are verified with.
    """

    broker_url: str | None = None
    result_backend: str | None = None
    queues: tuple[str, ...] = ()
    queue_type: str = "classic"
    authorities: str | None = None
    signing_key: str | None = None
    public_keys: tuple[str, ...] = ()


@cache
def read_link() -> BrokerCredentials:
    """Read the file that `AIRFLEET_CELERY` names; return an empty login if the variable is not set."""
    name = os.environ.get(environment.CELERY)
    if not name:
        return BrokerCredentials()
    body = json.loads(Path(name).read_text())
    lists = {key: tuple(body.get(key, ())) for key in ("queues", "public_keys")}
    return BrokerCredentials(**{**body, **lists})


def make_config(base: dict[str, Any], link: BrokerCredentials) -> dict[str, Any]:
    """Return Airflow's Celery configuration with airfleet's settings, which override those of the user."""
    default = base.get("task_default_queue")
    found = {
        "broker_url": link.broker_url,
        "result_backend": link.result_backend,
        "broker_use_ssl": {"ca_certs": link.authorities} if link.authorities else None,
        # Celery requires a default queue even in a process that sends no messages.
        "task_default_queue": default if default in link.queues else next(iter(link.queues), None),
    }
    imports = [name for name in base.get("imports", ()) if name != WORKER]
    return {
        **base,
        **{key: value for key, value in found.items() if value},
        "imports": [WORKER, *imports],
        "override_backends": {"db": "airfleet_provider.executors.result_backend:PatientBackend"},
        "task_queues": [make_queue(name, link.queue_type) for name in link.queues],
        "task_create_missing_queues": not link.queues,
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_serializer": "json",
        "worker_consumer": "airfleet_provider.executors.consumer:Consumer",
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "task_send_sent_event": False,
    }


def make_queue(name: str, kind: str) -> Queue:
    """Return a queue that exists at the broker already: Celery declares neither it nor its exchange."""
    arguments = {"x-queue-type": kind} if kind == "quorum" else None
    exchange = Exchange("", no_declare=True)  # type: ignore[no-untyped-call]
    return Queue(name, exchange, name, queue_arguments=arguments, no_declare=True)  # type: ignore[no-untyped-call]


def __getattr__(name: str) -> dict[str, Any]:
    """Make `CONFIG` when Airflow imports that name, so that importing this module reads and changes nothing."""
    if name != "CONFIG":
        raise AttributeError(name)
    verified_amqp.register()
    from airflow.providers.celery.executors.default_celery import get_default_celery_config  # noqa: PLC0415
    from airflow.providers.common.compat.sdk import conf  # noqa: PLC0415

    return make_config(get_default_celery_config(conf), read_link())
