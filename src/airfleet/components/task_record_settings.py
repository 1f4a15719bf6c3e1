"""The Airflow settings with which tasks write events of OpenLineage and spans to files of their host."""

from __future__ import annotations

import json
from pathlib import Path

from airfleet.components.model import Setting
from airfleet.spec.fleet import Fleet
from airfleet_provider.contract import task_records


def list_settings(fleet: Fleet, folder: Path) -> tuple[Setting, ...]:
    """Return what lets tasks write records into a folder of their host: nothing, if nobody wants records."""
    if fleet.openlineage is None and not fleet.user_spans:
        return ()
    found = [
        Setting(task_records.SECTION, task_records.FOLDER_KEY, str(folder), "files that tasks write and that are read")
    ]
    if fleet.user_spans:
        found.append(Setting(task_records.SECTION, task_records.SPANS_KEY, "True", "fleet.yaml: user_spans"))
    if fleet.openlineage is not None:
        # In place of the options of former versions, of which each task would warn in its log.
        policy = [{"scope": {}, "controls": {"emit_dag_events": False, "include_source_code": False}, "locked": True}]
        found += [
            Setting("openlineage", "disabled", "False", "fleet.yaml: openlineage"),
            Setting(
                "openlineage",
                "transport",
                json.dumps({"type": task_records.TRANSPORT}),
                "a task writes its events to a file of its host and waits for no backend",
            ),
            Setting("openlineage", "namespace", fleet.openlineage.namespace, "fleet.yaml: openlineage.namespace"),
            Setting(
                "openlineage",
                "execute_in_thread",
                "True",
                "with the default, each event forks the process of the task",
            ),
            Setting(
                "logging",
                "namespace_levels",
                "airflow.providers.openlineage=WARNING",
                "four lines in the log of each task would say that its events were written",
            ),
            Setting("openlineage", "execution_timeout", "5", "the default lets a task wait 10 s for an event"),
            Setting(
                "openlineage",
                "emission_policy",
                json.dumps(policy),
                "code of tasks may hold secrets; and the scheduler would start a process for the events of runs, which "
                "airfleet has in the database",
            ),
        ]
    return tuple(found)
