"""Ordinary tasks write the event of OpenLineage that was prepared before they were forked.

The provider would make the same event, in the process of each task, of memory that the fork shared until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airfleet_provider.compat.calls.lineage_events import PreparedEvents
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Digest


def tell_prepared(events: PreparedEvents) -> None:
    """Let tasks of this process and its later forks write these events. Only with airfleet's own transport."""
    apply(PATCH, events)


def _make(original: Any, events: PreparedEvents) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    def tell_success(listener: Any, task_instance: Any, dag: Any, dagrun: Any, task: Any) -> None:  # noqa: ANN401
        if not events.tell(listener, task_instance, dag, dagrun, task):
            original(listener, task_instance, dag, dagrun, task)

    return (tell_success,)


_LISTENER = "airflow.providers.openlineage.plugins.listener"
_ADAPTER = "airflow.providers.openlineage.plugins.adapter:OpenLineageAdapter"
_UTILS = "airflow.providers.openlineage.utils.utils"
_MANAGER = "airflow.providers.openlineage.extractors.manager"
_CLIENT = "openlineage.client.client:OpenLineageClient"
_SUCCESS = f"{_LISTENER}:OpenLineageListener._on_task_instance_success"


def list_code() -> Sequence[str]:
    """Return the code by which an ordinary task that succeeds gets its event."""
    return (
        _SUCCESS,
        *(f"{_ADAPTER}.{name}" for name in ("emit", "complete_task", "_build_run", "_build_job")),
        *(f"{_UTILS}:{name}" for name in ("get_user_provided_run_facets", "get_task_parent_run_facet")),
        *(f"{_UTILS}:{name}" for name in ("get_task_documentation", "get_dag_documentation")),
        *(f"{_UTILS}:{name}" for name in ("get_runtime_outlet_assets", "OpenLineageRedactor")),
        *(f"{_MANAGER}:ExtractorManager.{name}" for name in ("extract_metadata", "get_extractor_class")),
        *(f"{_CLIENT}.{name}" for name in ("emit", "add_environment_facets", "update_event_tags_facets")),
    )


PATCH = Patch(
    name="lineage-event",
    targets=(_SUCCESS,),
    # A task has no time to compare code. The versions are locked, and a test compares the code for new ones.
    requires=(
        Accepts(_SUCCESS, ("self", "task_instance", "dag", "dagrun", "task")),
        Contains("airflow.providers.openlineage", ('__version__ = "2.20.3"',)),
        Contains("openlineage.client.constants", ('__version__ = "1.54.0"',)),
    ),
    assumes=(
        Digest(
            "the rules by which a task gets its event",
            list_code,
            "fa0cff1b5216dca5e5b9a0c2c8931de8043a058556384ab0cce9162e88c8c45f",
        ),
    ),
    make=_make,
    without="the event of OpenLineage costs each task some milliseconds more",
    processes="zygotes and their tasks, where fleet.yaml has `openlineage`",
)
