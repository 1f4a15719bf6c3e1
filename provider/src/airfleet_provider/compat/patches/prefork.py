"""Work that Airflow repeats in each task's process, done once in the process that tasks are forked from (ADR 19)."""

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

# The modules that a task's process imports after its fork, beside those of its Dag file.
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
    # Modules of installed plugins. Each zygote loads the plugins, and would import these by itself.
    "airfleet_provider.api_server.plugin",
    "airflow.providers.openlineage.plugins.openlineage",
    "airflow.timetables.trigger",
)


def import_modules() -> None:
    """Import the modules that every task needs. It never raises."""
    for name in TASK_MODULES:
        # A plugin may refuse its settings: Airflow logs that and goes on. A task that needs the module shows the error.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def keep_parts() -> None:
    """Build the constant objects that each task builds, and call functions that cache their first result."""
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
    with contextlib.suppress(Exception):  # a task with the same failure will show the error
        get_hostname()
        getuser()


def _keep_adapters(original: Any) -> Any:  # noqa: ANN401 - pydantic's class
    """Let a module share the pydantic adapters that it makes. Each takes a millisecond or two."""
    kept: dict[int, tuple[Any, Any]] = {}

    def adapt(kind: Any) -> Any:  # noqa: ANN401 - whatever pydantic takes
        # The key is the identity, because a union of all messages is slow to hash. The value keeps the kind alive.
        if id(kind) not in kept:
            kept[id(kind)] = (kind, original(kind))
        return kept[id(kind)][1]

    return adapt


def prepare_log() -> int:
    """Set up the log of this process as that of a task, and return the descriptor to which it goes, also in forks.

    It starts as a copy of stderr. A task that sets up its log moves the descriptor to its own channel.
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
    without="each task builds the decoders of its messages again, which takes some milliseconds",
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
    without="zygotes do not start, because the lines of a task would not reach its log",
    processes="zygote pools",
    is_required=True,
)
