"""What is the same for every task of a supervisor is made once: the reader of its messages, settings, and a client."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains
from airfleet_provider.network.http_transport import copy_plain_client

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def share_clients() -> None:
    """Let supervisors in this process, and in its forks, copy a client of the execution API for each task."""
    apply(CLIENT)


def share_workloads() -> None:
    """Let processes of a Celery worker build the reader of messages, and read settings, once for all tasks."""
    apply(WORKLOADS)


def _make_client(original: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    from airflow.sdk.api.client import Client

    @functools.lru_cache(maxsize=1)
    def make_model(server: str) -> Any:  # noqa: ANN401 - a Client
        with original(server, "") as model:
            return model

    @contextmanager
    def ensure_client(
        server: str | None,
        token: str,
        client: Any = None,  # noqa: ANN401 - a Client
        dry_run: bool = False,
    ) -> Iterator[Any]:
        made = None
        if client is None and not dry_run and (server or "").startswith("http:"):
            model = make_model(server)
            if type(model) is Client and (made := copy_plain_client(model)):
                made.auth = type(model.auth)(token)
                made.event_hooks = {
                    kind: [_rebind(hook, model, made) for hook in hooks] for kind, hooks in model.event_hooks.items()
                }
        if made is None:
            with original(server, token, client=client, dry_run=dry_run) as usual:
                yield usual
            return
        try:
            yield made
        finally:
            with suppress(Exception):
                made.close()

    return (ensure_client,)


def _rebind(hook: Any, model: Any, made: Any) -> Any:  # noqa: ANN401 - a function, or a method of the model
    return hook.__func__.__get__(made) if getattr(hook, "__self__", None) is model else hook


def _make_workloads(workload: Any, read_override: Any, read_server: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    from pydantic import TypeAdapter

    reader = TypeAdapter(workload)
    # A type that has these attributes is not examined again.
    parts = {
        "__pydantic_core_schema__": reader.core_schema,
        "__pydantic_validator__": reader.validator,
        "__pydantic_serializer__": reader.serializer,
    }
    return (type("ExecutorWorkload", (), parts), functools.cache(read_override), functools.cache(read_server))


_SUPERVISOR, _CLIENT = "airflow.sdk.execution_time.supervisor", "airflow.sdk.api.client:Client"
_UTILITIES, _BASE = "airflow.providers.celery.executors.celery_executor_utils", "airflow.executors.base_executor"
CLIENT = Patch(
    name="shared-client",
    targets=(f"{_SUPERVISOR}:_ensure_client",),
    requires=(
        Accepts(f"{_SUPERVISOR}:_ensure_client", ("server", "token"), ("client", "dry_run")),
        # Nothing else of a client belongs to one task.
        Contains(
            f"{_CLIENT}.__init__",
            (
                "auth = BearerAuth(token)",
                "auth=auth,",
                '"response": [self._update_auth, raise_on_4xx_5xx],',
                '"request": [add_correlation_id, inject_trace_context],',
            ),
        ),
        Contains(f"{_CLIENT}._update_auth", ("self.auth = BearerAuth(new_token)",)),
    ),
    make=_make_client,
    without="each task makes a client of the execution API, which takes half a millisecond",
    processes="Celery workers, workers of the LocalExecutor",
)
WORKLOADS = Patch(
    name="shared-workloads",
    targets=(
        "airflow.executors.workloads:ExecutorWorkload",
        f"{_UTILITIES}:_celery_task_logs_to_stdout_override",
        f"{_BASE}:get_execution_api_server_url",
    ),
    requires=(
        Contains(
            _UTILITIES,
            (
                "def execute_workload(input: str) -> None:",
                "decoder = TypeAdapter[ExecutorWorkload](ExecutorWorkload)",
                "workload = decoder.validate_json(input)",
                "subprocess_logs_to_stdout = _celery_task_logs_to_stdout_override()",
            ),
        ),
        Accepts(f"{_UTILITIES}:_celery_task_logs_to_stdout_override"),
        Accepts(f"{_BASE}:get_execution_api_server_url"),
    ),
    make=_make_workloads,
    without="each task builds the reader of its message again, and reads three settings, which takes a millisecond",
    processes="Celery workers",
)
