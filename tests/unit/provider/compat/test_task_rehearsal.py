"""The made-up task of a zygote pool runs as real ones do, and leaves nothing behind but warm code."""

from __future__ import annotations

import dis
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import listener, plugins_manager
from airflow.sdk._shared.observability.metrics import stats
from airflow.sdk.execution_time import task_runner
from opentelemetry import trace
from setproctitle import getproctitle
from structlog.contextvars import get_contextvars

from airfleet_provider.compat.patches import prefork, rehearsal
from forked import run_forked


class Telling(trace.TracerProvider):
    """What a user has set up for traces: tells if anybody wants to write a span."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def get_tracer(self, instrumenting_module_name: str, *_: Any, **__: Any) -> trace.Tracer:  # noqa: ANN401
        self.told.append(instrumenting_module_name)
        return trace.NoOpTracer()


def _find_state() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "handler": str(signal.getsignal(signal.SIGTERM)),
        "title": getproctitle(),
        "context": get_contextvars(),
        "comms": hasattr(task_runner, "SUPERVISOR_COMMS"),
        "patched": rehearsal.PATCH.is_applied(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }


def _count_plugin_loads() -> list[int]:
    caches = (listener.get_listener_manager, plugins_manager.integrate_macros_plugins)
    return [cache.cache_info().misses for cache in caches]


def _rehearse() -> list[Any]:
    """Return why it failed, the process before and after, what was logged, and whether plugins stayed unloaded."""
    prefork.import_modules()
    prefork.keep_parts()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.dup2(writer, 2)
    os.close(writer)
    descriptor = prefork.prepare_log()
    told: list[str] = []
    stats.initialize(factory=lambda: told.append("metrics"), export_legacy_names=False)
    trace.set_tracer_provider(Telling(told))
    loads, before = _count_plugin_loads(), _find_state()
    found = rehearsal.rehearse(descriptor)
    after, loads_after = _find_state(), _count_plugin_loads()
    try:
        said = os.read(reader, 1 << 16).decode()
    except BlockingIOError:
        said = ""
    return [found, before, after, [said, *told], loads_after == loads]


def test_it_runs_a_task_to_its_end_and_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise the process would become `sudo`.
    monkeypatch.setenv("AIRFLOW__CORE__DEFAULT_IMPERSONATION", "somebody")
    monkeypatch.setenv("AIRFLOW__CORE__HOSTNAME_CALLABLE", "code.of.a.user")
    found, before, after, said, is_without_plugins = run_forked(_rehearse)
    assert found is None
    assert after == before
    assert said == [""], (
        "a metric or a span would tell of a task that nobody has, and a line of it would stand in the log of the worker"
    )
    assert is_without_plugins, "warm processes load plugins, because they live for 15 minutes only"


def test_the_code_of_tasks_is_adapted_afterwards() -> None:
    def work() -> list[bool]:
        _rehearse()
        codes = (task_runner.parse, task_runner._execute_task.__wrapped__, task_runner._prepare.__wrapped__)
        found = ({one.opname for one in dis.get_instructions(code, adaptive=True)} for code in codes)
        return [bool(names - dis.opmap.keys()) for names in found]

    assert run_forked(work) == [True, True, True]


@pytest.mark.parametrize("part", ["_answer", "_make_dag", "_make_details"])
def test_a_failure_is_no_harm(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Such as a task that asks for what nobody answers."""

    def fail(*channels: Any) -> None:  # noqa: ANN401 - a socket
        if not channels:
            sys.exit(1)
        channels[0].close()

    monkeypatch.setattr(rehearsal, part, fail)
    found, before, after, _, _ = run_forked(_rehearse)
    assert found.startswith(("EOFError", "SystemExit"))
    assert after == before
