"""Prepare, before tasks are forked, the event of OpenLineage that an ordinary task ends with.

Of that event only the ids of the run and its times depend on the attempt. All else is taken from an event that the
provider itself made of the same task, in the process that forks tasks. What could make the provider's own event of the
attempt another one is compared first; then, and for all tasks that are not ordinary, the provider makes the event.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from airfleet_provider.compat.calls.openlineage import make_inline_listener, make_run
from airfleet_provider.contract.redaction import Redaction

# OpenLineage is imported inside the functions: no process imports it unless Airflow has done so.
# ruff: noqa: PLC0415

log = logging.getLogger(__name__)

_LISTENER = "airflow.providers.openlineage.plugins.listener"
# Tasks of a Dag file whose event is prepared, at less than a millisecond each.
MOST_TASKS = 500
# Tasks that the provider itself makes an event of for that, at some 5 ms each.
MOST_MADE = 20
# The provider counts and times events with metrics: where Airflow sends any, it makes all events itself.
_METRICS = ("statsd_on", "statsd_datadog_enabled", "otel_on")
# The attributes of an operator that the event says something of.
_DOCS = ("doc", "doc_md", "doc_json", "doc_yaml", "doc_rst")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """What the provider said of a task, and what it looked at."""

    # JSON, because a fork copies less memory for one string than for what it says.
    text: str
    seen: tuple[object, ...]


@dataclass(slots=True)
class PreparedEvents:
    """The events of the ordinary tasks of a Dag file, by Dag and task."""

    events: dict[tuple[str, str], PreparedEvent] = field(default_factory=dict)

    def prepare(self, dags: Mapping[str, Any], most: int = MOST_TASKS) -> None:
        """Prepare the events of the tasks of some Dags. It never raises: without it, tasks do all the work."""
        try:
            self._prepare(dags, most)
        except Exception as error:
            log.debug("No events of OpenLineage are prepared: %s: %s", type(error).__name__, error)

    def tell(self, listener: Any, instance: Any, dag: Any, run: Any, task: Any) -> bool:  # noqa: ANN401 - Airflow's own
        """Write the event of an attempt that succeeded, and return whether that was done. It never raises."""
        try:
            prepared = self.events.get((instance.dag_id, instance.task_id))
            if prepared is None or not _is_ordinary(listener, instance, run, task):
                return False
            if _look(listener, dag, task) != prepared.seen:
                return False
            event = _fill(json.loads(prepared.text), listener, instance, run)
            if event is None:
                return False
            # It raises only before it writes: the client of this process may have another transport by now.
            listener.adapter._client.transport.keep(event)
        except Exception as error:
            log.debug("OpenLineage makes this event itself: %s: %s", type(error).__name__, error)
            return False
        return True

    def _prepare(self, dags: Mapping[str, Any], most: int) -> None:
        from airflow.configuration import conf
        from airflow.providers.openlineage.conf import custom_run_facets, debug_mode

        if (
            custom_run_facets()
            or debug_mode()
            or any(conf.getboolean("metrics", key, fallback=False) for key in _METRICS)
        ):
            return
        listener = make_inline_listener(sys.modules[_LISTENER])
        made = 0
        for dag in dags.values():
            # Of two tasks in which the provider sees the same, the events differ by the name of the job.
            told: dict[tuple[object, ...], str] = {}
            for task in islice(dag.tasks, max(0, most - len(self.events))):
                if not _is_plain(listener, task):
                    continue
                seen = _look(listener, dag, task)
                if seen not in told:
                    if made == MOST_MADE:
                        continue
                    made += 1
                    told[seen] = _make_text(listener, dag, task)
                name = f"{dag.dag_id}.{task.task_id}"
                if listener.adapter._redacter.redact(name) == name and (text := _rename(told[seen], name)):
                    self.events[dag.dag_id, task.task_id] = PreparedEvent(text, seen)


def _make_text(listener: Any, dag: Any, task: Any) -> str:  # noqa: ANN401
    """Return the event that the provider makes of a task, as JSON, or nothing if none can be filled in."""
    with _capture(listener) as events:
        listener._on_task_instance_success(_make_attempt(task), dag, make_run(), task)
    if len(events) != 1 or not _is_complete(events[0]) or events[0]["job"]["name"] != f"{dag.dag_id}.{task.task_id}":
        return ""
    return json.dumps(events[0], separators=(",", ":"))


def _rename(text: str, name: str) -> str:
    """Return the event of another task, or nothing if it would not be kept as it is."""
    if not text:
        return ""
    event = json.loads(text)
    event["job"]["name"] = name
    renamed = json.dumps(event, separators=(",", ":"))
    return renamed if Redaction().hide(renamed) == renamed else ""


def _is_plain(listener: Any, task: Any) -> bool:  # noqa: ANN401
    """Return whether an operator has no lineage of its own: neither declared datasets nor an extractor that finds any.

    The provider's extractors of Python and Bash find source code only, which nobody keeps.
    """
    from airflow.providers.openlineage.extractors.bash import BashExtractor
    from airflow.providers.openlineage.extractors.python import PythonExtractor
    from airflow.sdk import BaseOperator

    extractor = listener.extractor_manager.get_extractor_class(task)
    is_mapped = not isinstance(task, BaseOperator) or bool(list(task.iter_mapped_task_groups()))
    return (
        not is_mapped and not task.inlets and not task.outlets and extractor in (None, PythonExtractor, BashExtractor)
    )


def _is_ordinary(listener: Any, instance: Any, run: Any, task: Any) -> bool:  # noqa: ANN401
    """Return whether an attempt has found no lineage, and nothing was said about the parent of its run."""
    from airflow.providers.openlineage.extractors import manager

    context = instance._cached_template_context  # the listener has just got it; to get it again is dear
    return (
        instance.map_index == -1
        and len(context["outlet_events"]) == 0
        and not manager._is_hook_lineage_collector_created()
        and not (run.conf or {}).get("openlineage")
        and not listener.log.isEnabledFor(logging.INFO)
        and _is_plain(listener, task)
    )


def _look(listener: Any, dag: Any, task: Any) -> tuple[object, ...]:  # noqa: ANN401
    """Return what else the provider looks at, as far as a task can change it while it runs."""
    from airflow.providers.openlineage.plugins import listener as module

    policy = module.resolve_task_emission_policy(operator=task, dag_id=dag.dag_id, task_id=task.task_id)
    docs = tuple(getattr(task, name) for name in _DOCS)
    tags = tuple(sorted(dag.tags))
    # What the provider masks is fixed when the client is made.
    masked = id(listener.adapter._redacter.replacer)
    kept_by = id(listener.adapter._client)
    return policy, type(task), task.owner, *docs, dag.doc_md, dag.description, tags, masked, kept_by


def _fill(event: Json, listener: Any, instance: Any, run: Any) -> Json | None:  # noqa: ANN401
    """Return the event with the ids and times of an attempt; None if the provider would not say it like that."""
    start, end = (_write_time(one) for one in (run.data_interval_start, run.data_interval_end))
    if (start is None) != (end is None):
        return None
    date = run.run_after if run.logical_date is None else run.logical_date
    ids = {"dag_id": instance.dag_id, "logical_date": date}
    parent = listener.adapter.build_dag_run_id(**ids, clear_number=run.clear_number)
    own = {"task_id": instance.task_id, "try_number": instance.try_number, "map_index": instance.map_index}
    event["eventTime"] = datetime.now(UTC).isoformat()
    event["run"]["runId"] = listener.adapter.build_task_instance_run_id(**ids, **own)
    facets = event["run"]["facets"]
    facets["parent"]["run"]["runId"] = facets["parent"]["root"]["run"]["runId"] = parent
    if start is None:
        del facets["nominalTime"]
    else:
        facets["nominalTime"] |= {"nominalStartTime": start, "nominalEndTime": end}
    return event


def _write_time(moment: Any) -> str | None:  # noqa: ANN401
    return None if moment is None else moment.isoformat()


def _is_complete(event: Json) -> bool:
    """Return whether an event has what `_fill` fills in, and no more of it."""
    facets = event["run"]["facets"]
    times, parent = facets.get("nominalTime", {}), facets.get("parent", {})
    ids = {parent.get("run", {}).get("runId"), parent.get("root", {}).get("run", {}).get("runId")}
    has_times = isinstance(times.get("nominalStartTime"), str) and isinstance(times.get("nominalEndTime"), str)
    has_data = event["inputs"] or event["outputs"]
    return event.get("eventType") == "COMPLETE" and has_times and None not in ids and len(ids) == 1 and not has_data


def _make_attempt(task: Any) -> Any:  # noqa: ANN401 - a RuntimeTaskInstance
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    class MadeUpAttempt(RuntimeTaskInstance):  # type: ignore[misc]
        """An attempt whose context has nothing in it: to fill it would look at the parameters of the Dag."""

        def get_template_context(self) -> Any:  # noqa: ANN401
            return {"outlet_events": {}}

    ids = {"dag_id": task.dag_id, "task_id": task.task_id, "run_id": "made-up"}
    return MadeUpAttempt.model_construct(**ids, try_number=1, map_index=-1, task=task, is_mapped=False)


@contextmanager
def _capture(listener: Any) -> Iterator[list[Json]]:  # noqa: ANN401
    """Collect, as they would be kept, the events that the client is to send."""
    client = listener.adapter.get_or_create_openlineage_client()
    transport, events = client.transport, []

    class CapturingTransport(type(transport)):  # type: ignore[misc]
        def __init__(self) -> None:
            """Open nothing."""

        def emit(self, event: Any) -> None:  # noqa: ANN401
            events.append(transport.slim(event))

    client.transport = CapturingTransport()
    try:
        yield events
    finally:
        client.transport = transport
