"""A made-up task that runs in a zygote pool, so that the code of every task has run before the first fork (ADR 19).

Python 3.11 and later rewrite code that runs often, and fill in caches beside it. A task's process is new, so it would
do all of that for itself, in pages that it then no longer shares.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from setproctitle import getproctitle, setproctitle

from airfleet_provider.compat.patches import prefork, task_start
from airfleet_provider.compat.patches.patch import Patch, apply, undo
from airfleet_provider.compat.patches.requirements import Accepts, Contains
from airfleet_provider.processes import code_layout

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

log = logging.getLogger("airfleet")

# Python adapts code after it has run 8 times, and needs some more to settle.
TIMES = 12
NAME = "airfleet_rehearsal"
_ID = UUID("01a22922-fe5c-7579-b1bf-901c08a38895")


def rehearse(descriptor: int, times: int = TIMES) -> str | None:
    """Run a made-up task in this process, from its start to its end, and leave nothing of it behind but warm code.

    No code of users runs: neither listeners nor macros of plugins, nor Dag files. Nothing leaves the process: no line
    of a log, no metric, no span, no request. `descriptor` is the one to which this process logs. Return None, or why it
    failed: then tasks are as correct, and slower. It never raises.
    """
    try:
        if obstacle := apply(PATCH):
            return obstacle
        with _kept_process(descriptor):
            for _ in range(times):
                contextvars.copy_context().run(_run_once)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        log.warning("The rehearsal of a task failed, and so %s: %s", PATCH.without, reason)
        return reason
    finally:
        if PATCH.is_applied():
            undo(PATCH)
    return None


def gather_code() -> None:
    """Put the code that a task runs side by side in memory, in a process that has imported it and has no fork yet."""
    code_layout.gather(lambda: rehearse(prefork.prepare_log(), times=2))


@contextlib.contextmanager
def _kept_process(descriptor: int) -> Iterator[None]:
    """Restore what a task changes in its process, and let its log go nowhere."""
    environment, title, handler = dict(os.environ), getproctitle(), signal.getsignal(signal.SIGTERM)
    saved = os.dup(descriptor)
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, descriptor, inheritable=False)
    try:
        yield
    finally:
        os.dup2(saved, descriptor, inheritable=False)
        os.close(saved)
        os.close(null)
        setproctitle(title)
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


def _run_once() -> None:
    import structlog
    from airflow.sdk.execution_time import comms, task_runner
    from airflow.sdk.execution_time.supervisor import set_supervisor_comms
    from airflow.sdk.observability.metrics import stats_utils

    dag = _make_dag()
    bag = SimpleNamespace(dag_folder=os.devnull, dags={NAME: dag})
    task_log = structlog.get_logger(logger_name="task")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        _answer(theirs)
        task_start.lend_bag(bag, lambda: None)
        try:
            # Generic, because Python takes a while to find what the runner writes so, and then remembers it.
            channel = comms.CommsDecoder[task_runner.ToTask, task_runner.ToSupervisor](log=task_log, socket=ours)
            stats_utils.get_stats_factory()
            with set_supervisor_comms(channel):
                task_log.info("::group::Pre Execute")
                details = task_runner.get_startup_details()
                with task_runner._make_task_span(msg=details):
                    ti, context, task_log = task_runner.startup(msg=details)
                    state, _, error = task_runner.run(ti, context, task_log)
                    context["exception"] = error
                    task_runner.finalize(ti, state, context, task_log, error)
        finally:
            undo(task_start.LOADED_BAG)
    if error is not None:
        raise error


def _make_dag() -> Any:  # noqa: ANN401 - a DAG
    from airflow.sdk import DAG, task

    with DAG(NAME, schedule=None) as dag:
        # A task of another user starts a new program in its process.
        @task(task_id=NAME, run_as_user=NAME)  # type: ignore[untyped-decorator]
        def work() -> None:
            pass

        work()
    return dag


def _answer(channel: socket.socket) -> None:
    """Write all that a supervisor says to such a task. A task that asks for more finds the end of the channel."""
    from airflow.sdk.execution_time import comms

    frame = comms._ResponseFrame
    details = _make_details().model_dump()
    for answer in (frame(id=0, body=details), frame(id=0, body=comms.OKResponse(ok=True).model_dump()), frame(id=1)):
        channel.sendall(answer.as_bytes())
    channel.shutdown(socket.SHUT_WR)


def _make_details() -> Any:  # noqa: ANN401 - StartupDetails
    from airflow.sdk.api.datamodels._generated import BundleInfo, TaskInstance, TIRunContext
    from airflow.sdk.execution_time.comms import StartupDetails

    from airfleet_provider.compat.calls.openlineage import make_run

    moment = datetime.now(UTC)
    run = make_run().model_copy(update={"dag_id": NAME, "run_id": NAME})
    return StartupDetails(
        ti=TaskInstance(
            **{"id": _ID, "dag_version_id": _ID, "dag_id": NAME, "task_id": NAME, "run_id": NAME, "try_number": 1},
            **{"map_index": -1, "pool_slots": 1, "queue": "default", "priority_weight": 1},
        ),
        dag_rel_path=os.devnull,
        bundle_info=BundleInfo(name=NAME, version=None),
        start_date=moment,
        ti_context=TIRunContext(dag_run=run, max_tries=0, should_retry=False),
        sentry_integration="",
    )


class RehearsalBundles:
    """In the place of Airflow's manager of bundles: knows one folder that is there, and takes no lock."""

    def get_bundle(self, name: str, version: str | None = None) -> Any:  # noqa: ANN401 - like a BaseDagBundle
        """Return the bundle of the made-up task."""
        return SimpleNamespace(name=name, version=version, path=Path(os.sep), initialize=lambda: None)


def _make(*_: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    from airflow.sdk._shared.listeners.listener import ListenerManager
    from airflow.sdk._shared.listeners.spec import lifecycle, taskinstance
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
    from opentelemetry.trace import NoOpTracer

    listeners = ListenerManager()
    listeners.add_hookspecs(lifecycle)
    listeners.add_hookspecs(taskinstance)
    return (
        lambda: listeners,
        type("Bundles", (RehearsalBundles,), {}),
        lambda: NAME,
        lambda: NAME,
        NoOpTracer(),
        NoStatsLogger(),
        lambda: None,
        lambda context: {},
    )


_RUNNER = "airflow.sdk.execution_time.task_runner"
_STATS = "airflow.sdk._shared.observability.metrics.stats"
PATCH = Patch(
    name="rehearsal",
    targets=(
        f"{_RUNNER}:get_listener_manager",
        f"{_RUNNER}:DagBundlesManager",
        f"{_RUNNER}:get_hostname",
        f"{_RUNNER}:getuser",
        f"{_RUNNER}:tracer",
        f"{_STATS}:_backend",
        "airflow.sdk.plugins_manager:integrate_macros_plugins",
        "airflow.settings:get_airflow_context_vars",
    ),
    requires=(
        Accepts(f"{_RUNNER}:startup", ("msg",)),
        Accepts(f"{_RUNNER}:run", ("ti", "context", "log")),
        Accepts(f"{_RUNNER}:finalize", ("ti", "state", "context", "log", "error")),
        Accepts(f"{_RUNNER}:get_startup_details"),
        Contains(
            f"{_RUNNER}:RuntimeTaskInstance.get_template_context",
            ("from airflow.sdk.plugins_manager import integrate_macros_plugins",),
        ),
        Contains(
            "airflow.sdk.execution_time.context:context_to_airflow_vars",
            ("settings.get_airflow_context_vars(context)",),
        ),
        Contains(f"{_RUNNER}:parse", ("DagBundlesManager().get_bundle(",)),
        Contains(f"{_RUNNER}:startup", ('getattr(ti.task, "run_as_user", None) or', "and run_as_user != getuser():")),
        Contains(f"{_RUNNER}:_make_task_span", ("with tracer.start_as_current_span(",)),
        Contains(f"{_STATS}:_get_backend", ("if _backend is None:",)),
        Contains(f"{_RUNNER}:_prepare", ("ti.hostname = get_hostname()",)),
    ),
    make=_make,
    without="the process of each task prepares Airflow's code for itself, which takes some milliseconds",
    processes="zygote pools, before their first fork",
)
