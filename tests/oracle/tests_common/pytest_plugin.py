"""Fixtures for the tests of the SDK: a task instance as its process has it, without a supervisor."""

from __future__ import annotations

# Airflow has no types, and is imported by its tests' own set-up first.
# ruff: noqa: ANN401, PLC0415
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from uuid6 import uuid7

LOGICAL = datetime(2024, 12, 1, 1, tzinfo=UTC)


@pytest.fixture
def mock_supervisor_comms() -> Iterator[mock.MagicMock]:
    comms = mock.MagicMock(asend=mock.AsyncMock())
    with mock.patch("airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS", comms, create=True):
        yield comms


@pytest.fixture
def mocked_parse(spy_agency: Any) -> Callable[..., Any]:
    """Make each parse of a Dag file return the given task instance."""
    from airflow.sdk import DAG
    from airflow.sdk.api.datamodels._generated import TaskInstanceState
    from airflow.sdk.execution_time import task_runner

    def build(what: Any, dag_id: str, task: Any) -> Any:
        if not task.has_dag():
            task = DAG(dag_id=dag_id, start_date=datetime(2024, 12, 3, tzinfo=UTC)).add_task(task) or task
        found = task_runner.RuntimeTaskInstance.model_construct(
            **what.ti.model_dump(exclude_unset=True),
            task=task,
            bundle_instance=mock.MagicMock(version=None),
            _ti_context_from_server=what.ti_context,
            max_tries=what.ti_context.max_tries,
            start_date=what.start_date,
            state=TaskInstanceState.RUNNING,
        )
        spy_agency.spy_on(task_runner.parse, call_fake=lambda *_, **__: found)
        return found

    return build


@pytest.fixture
def create_runtime_ti(mocked_parse: Callable[..., Any], make_ti_context: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a task instance of a task that has just started."""
    from airflow.sdk.api.datamodels._generated import TaskInstance
    from airflow.sdk.execution_time.comms import BundleInfo, StartupDetails

    def create(
        task: Any,
        dag_id: str = "test_dag",
        run_id: str = "test_run",
        try_number: int = 1,
        map_index: int | None = -1,
        logical_date: Any = LOGICAL,
        **more: Any,
    ) -> Any:
        context = make_ti_context(
            dag_id=task.dag.dag_id if task.has_dag() else dag_id,
            run_id=run_id,
            logical_date=logical_date,
            data_interval_start=logical_date,
            data_interval_end=logical_date,
            **{"max_tries": task.retries or 0, **more},
        )
        ti = TaskInstance(
            id=uuid7(),
            task_id=task.task_id,
            dag_id=context.dag_run.dag_id,
            run_id=run_id,
            try_number=try_number,
            map_index=map_index,
            dag_version_id=uuid7(),
        )
        what = StartupDetails(
            ti=ti,
            dag_rel_path="",
            bundle_info=BundleInfo(name="anything", version="any"),
            start_date=LOGICAL,
            ti_context=context,
            sentry_integration="",
        )
        return mocked_parse(what, context.dag_run.dag_id, task)

    return create


@pytest.fixture
def cap_structlog() -> Iterator[Any]:
    import structlog

    with structlog.testing.capture_logs() as heard:
        yield heard
