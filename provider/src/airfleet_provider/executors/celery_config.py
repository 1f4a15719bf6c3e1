"""The configuration of Celery in every process of a platform: Airflow's own, and what keeps hosts apart on top of it.

Queues exist at the broker, and no client declares, binds or removes one. Workers take no orders from each other and
tell each other nothing. `AIRFLEET_CELERY` names the file with the logins and keys of this process.
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

WORKER = "airfleet_provider.executors.celery_worker"


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """What this process may use; a process that deals with no tasks has nothing of it."""

    broker_url: str | None = None
    result_backend: str | None = None
    queues: tuple[str, ...] = ()
    queue_type: str = "classic"
    signing_key: str | None = None
    public_keys: tuple[str, ...] = ()


@cache
def read_link() -> BrokerLogin:
    """What the file of this process says."""
    name = os.environ.get(environment.CELERY)
    if not name:
        return BrokerLogin()
    body = json.loads(Path(name).read_text())
    lists = {key: tuple(body.get(key, ())) for key in ("queues", "public_keys")}
    return BrokerLogin(**{**body, **lists})


def make_config(base: dict[str, Any], link: BrokerLogin) -> dict[str, Any]:
    """Airflow's configuration of Celery with ours on top, which nobody may override."""
    default = base.get("task_default_queue")
    found = {
        "broker_url": link.broker_url,
        "result_backend": link.result_backend,
        # Celery wants to know it, also where nothing is sent.
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
    """A queue that is there already: nothing of it is ever declared."""
    arguments = {"x-queue-type": kind} if kind == "quorum" else None
    exchange = Exchange("", no_declare=True)  # type: ignore[no-untyped-call]
    return Queue(name, exchange, name, queue_arguments=arguments, no_declare=True)  # type: ignore[no-untyped-call]


def __getattr__(name: str) -> dict[str, Any]:
    """Airflow asks for CONFIG by its name; nothing is read at the import."""
    if name != "CONFIG":
        raise AttributeError(name)
    from airflow.providers.celery.executors.default_celery import get_default_celery_config  # noqa: PLC0415
    from airflow.providers.common.compat.sdk import conf  # noqa: PLC0415

    return make_config(get_default_celery_config(conf), read_link())
