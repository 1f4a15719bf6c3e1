"""Let a process that forks tasks do once what the first events of OpenLineage cost each of them."""

from __future__ import annotations

import importlib
import logging
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from airfleet_provider.contract.task_records import TRANSPORT

# OpenLineage is imported inside the functions: no process imports it unless Airflow has done so.
# ruff: noqa: PLC0415

log = logging.getLogger(__name__)

_LISTENER = "airflow.providers.openlineage.plugins.listener"
# What the listener imports when the first task of a process starts.
_LATER = ("airflow.providers.common.compat.lineage.hook", "airflow.providers.common.sql.hooks.lineage")
_ID = "01a22922-fe5c-7579-b1bf-901c08a38895"


def has_own_transport() -> bool:
    """Return whether tasks of this process write their events with airfleet's transport. It never raises."""
    if _LISTENER not in sys.modules:
        return False
    try:
        from airflow.providers.openlineage import conf

        return not conf.config_conn_id() and not conf.config_path() and conf.transport().get("type") == TRANSPORT
    except Exception as error:
        log.debug("the settings of OpenLineage cannot be read: %s: %s", type(error).__name__, error)
        return False


def warm() -> None:
    """Make the client, and take the events of a made-up task through all but the writing.

    Only with airfleet's own transport: another one may open connections, which no forks may share. It never raises: a
    task that starts cold writes the same events.
    """
    try:
        _warm(sys.modules[_LISTENER])
    except Exception as error:
        log.debug("OpenLineage starts cold: %s: %s", type(error).__name__, error)


def _warm(listener: Any) -> None:  # noqa: ANN401 - a module
    for name in _LATER:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    listener.get_openlineage_listener().adapter.get_or_create_openlineage_client()
    # Without the folder of records in the environment, the transport does not write.
    task = _make_task()
    made_up = make_inline_listener(listener)
    made_up.on_task_instance_running("queued", task)
    made_up.on_task_instance_success("running", task)
    _say_less()


def make_inline_listener(listener: Any) -> Any:  # noqa: ANN401 - a module, and a listener of its kind
    """Return the listener of this process, but without a thread for each event."""
    own = listener.get_openlineage_listener()

    class WarmListener(listener.OpenLineageListener):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.adapter, self.extractor_manager = own.adapter, own.extractor_manager

        def _execute(self, callable: Any, callable_name: str, use_fork: bool = False) -> None:  # noqa: A002, ANN401
            callable()

    return WarmListener()


def _say_less() -> None:
    """Leave out lines that say in the log of each task what is settled. `namespace_levels` has no effect on them."""
    logger = logging.getLogger("airflow.providers.openlineage")
    if logger.getEffectiveLevel() == logging.INFO:
        logger.setLevel(logging.WARNING)


def _make_task() -> Any:  # noqa: ANN401 - a RuntimeTaskInstance
    from airflow.sdk import DAG, BaseOperator
    from airflow.sdk.api.datamodels._generated import TIRunContext
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    with DAG("warm", schedule=None):
        task = BaseOperator(task_id="warm")
    run = make_run()
    return RuntimeTaskInstance.model_construct(
        **{"id": UUID(_ID), "dag_version_id": UUID(_ID), "dag_id": "warm", "task_id": "warm", "run_id": "warm"},
        **{"try_number": 1, "map_index": -1, "task": task, "start_date": run.start_date, "is_mapped": False},
        bundle_instance=SimpleNamespace(name="warm", version=None),
        _ti_context_from_server=TIRunContext(dag_run=run, max_tries=0),
    )


def make_run() -> Any:  # noqa: ANN401 - a DagRun as a task gets it
    """Return a made-up run."""
    from airflow.sdk.api.datamodels._generated import DagRun

    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return DagRun(
        **{
            **dict.fromkeys(DagRun.model_fields),
            **{"dag_id": "warm", "run_id": "warm", "conf": {}, "clear_number": 0, "consumed_asset_events": []},
            **{"logical_date": moment, "data_interval_start": moment, "data_interval_end": moment, "run_after": moment},
            **{"start_date": moment, "run_type": "manual", "state": "running"},
        }
    )
