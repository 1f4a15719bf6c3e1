"""What Airflow does anew in each task's process, done once in the process that tasks are forked from."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
from collections.abc import Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Counts

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# What a task's process imports between its fork and its end, beside what its Dag file wants.
TASK_MODULES = (
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.execution_time.secrets.execution_api",
    "airflow.secrets.environment_variables",
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.importers.python_importer",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.sensors.python",
    "airflow.sdk.bases.xcom",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.definitions.mappedoperator",
    "airflow.plugins_manager",
    "airflow.sdk.serde",
    "encodings.idna",
    "jinja2.ext",
    "airfleet_provider.bundles.folder_bundle",
    "airfleet_provider.bundles.release_bundle",
)


def import_modules() -> None:
    """Import what every task needs."""
    for name in TASK_MODULES:
        with contextlib.suppress(ImportError):  # a task that wants it will say why it is not there
            importlib.import_module(name)


def keep_parts() -> None:
    """Build what tasks build for themselves and never change, and use once what remembers its first use."""
    from airflow.sdk._shared.secrets_masker import redact
    from airflow.sdk.api.client import get_hostname, getuser
    from airflow.sdk.definitions._internal.templater import create_template_env
    from airflow.sdk.execution_time import comms, task_runner

    apply(ADAPTERS)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        comms.CommsDecoder(socket=ours)
    task_runner.TypeAdapter(task_runner.JsonValue)
    create_template_env()
    redact({"key": "value"}, "key")
    with contextlib.suppress(Exception):  # a task that cannot find out either will say so
        get_hostname()
        getuser()


def _keep_adapters(original: Any) -> Any:  # noqa: ANN401 - pydantic's class
    """Let a module share the pydantic adapters it makes; each costs a millisecond or two."""
    kept: dict[int, tuple[Any, Any]] = {}

    def adapt(kind: Any) -> Any:  # noqa: ANN401 - whatever pydantic takes
        # By identity, as a union of all messages is slow to hash; the pair keeps the kind, and so its identity, alive.
        if id(kind) not in kept:
            kept[id(kind)] = (kind, original(kind))
        return kept[id(kind)][1]

    return adapt


def prepare_log() -> int:
    """Set this process's log up as a task's: the descriptor that says where it goes, here and in whatever is forked.

    Tasks that set up theirs move it to a channel of their own; it begins as a copy of stderr.
    """
    descriptor = os.dup(2)
    apply(LOG, descriptor)
    return descriptor


def _make_log(configure: Any, descriptor: int) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    configure(descriptor)
    return (lambda log_fd: os.dup2(log_fd, descriptor, inheritable=False),)


_COMMS, _RUNNER = "airflow.sdk.execution_time.comms", "airflow.sdk.execution_time.task_runner"
_SUPERVISOR = "airflow.sdk.execution_time.supervisor"
ADAPTERS = Patch(
    name="shared-adapters",
    targets=(f"{_COMMS}:TypeAdapter", f"{_RUNNER}:TypeAdapter"),
    requires=(
        Accepts(f"{_COMMS}:TypeAdapter", ("kind",)),
        Accepts(f"{_RUNNER}:TypeAdapter", ("kind",)),
        Counts(_COMMS, "TypeAdapter(ToTask)", 2),
        Contains(f"{_RUNNER}:_serialize_rendered_fields", ("TypeAdapter(JsonValue)",)),
    ),
    make=lambda *originals: tuple(map(_keep_adapters, originals)),
    without="each task builds the decoders of its messages anew, which costs some milliseconds",
    processes="zygote pools",
)
LOG = Patch(
    name="shared-log",
    targets=(f"{_SUPERVISOR}:_configure_logs_over_json_channel",),
    requires=(
        Accepts(f"{_SUPERVISOR}:_configure_logs_over_json_channel", ("log_fd",)),
        Contains(f"{_SUPERVISOR}:_fork_main", ("_configure_logs_over_json_channel(log_fd)",)),
    ),
    make=_make_log,
    without="zygotes do not start, as what a task logs would not reach its log",
    processes="zygote pools",
    is_required=True,
)
