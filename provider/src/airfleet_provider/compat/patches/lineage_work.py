"""Tasks do not make what of the events of OpenLineage nobody keeps: an event of their start, and most of the facets.

The event of a start says nothing that the event of the end does not say, but for the time, which the database has; so
`lineage_events` makes it for the backends. The facets are all attributes of a task, of its Dag and of its run. For each
event they would be collected, searched for secrets and encoded twice, in the process of the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains

# The facets that are not collected. None of them may be among those that are kept.
LEFT_OUT = frozenset({"airflow", "unknownSourceAttribute"})


def leave_out() -> None:
    """Do no such work in this process and its later forks. Only where events have airfleet's own transport."""
    apply(PATCH)


def _make(*originals: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    def tell_no_start(listener: Any, task_instance: Any, dag: Any, dagrun: Any, task: Any, start_date: Any) -> None:  # noqa: ANN401
        return None

    def collect_no_attributes(*given: Any, **named: Any) -> dict[str, Any]:  # noqa: ANN401 - what the original takes
        return {}

    def collect_no_unknown(*given: Any, **named: Any) -> dict[str, Any]:  # noqa: ANN401 - what the original takes
        return {}

    return tell_no_start, collect_no_attributes, collect_no_unknown


_LISTENER = "airflow.providers.openlineage.plugins.listener"
_UTILS = "airflow.providers.openlineage.utils.utils"
_MANAGER = "airflow.providers.openlineage.extractors.manager"
_START = f"{_LISTENER}:OpenLineageListener._on_task_instance_running"
PATCH = Patch(
    name="lineage-work",
    targets=(
        _START,
        f"{_LISTENER}:get_airflow_run_facet",
        f"{_MANAGER}:get_unknown_source_attribute_run_facet",
    ),
    requires=(
        Accepts(_START, ("self", "task_instance", "dag", "dagrun", "task", "start_date")),
        Contains(_START, ("self.adapter.start_task(",)),
        Contains(f"{_UTILS}:get_airflow_run_facet", ('return {\n        "airflow": ',)),
        Contains(f"{_UTILS}:get_unknown_source_attribute_run_facet", ('return {\n        "unknownSourceAttribute": ',)),
    ),
    assumes=(
        Contains(f"{_LISTENER}:OpenLineageListener", ("self._on_task_instance_running(", "**get_airflow_run_facet(")),
        Contains(f"{_MANAGER}:ExtractorManager.extract_metadata", ("run_facets=get_unknown_source_attribute_run",)),
    ),
    make=_make,
    without="the events of OpenLineage cost a task twice the time, for what nobody keeps",
    processes="zygotes and their tasks, where fleet.yaml has `openlineage`",
)
