"""Let a process that forks tasks do once what the first event of OpenLineage costs each of them."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

from airfleet_provider.contract.task_records import TRANSPORT

# OpenLineage is imported inside the functions: no process imports it unless Airflow has done so.
# ruff: noqa: PLC0415

log = logging.getLogger(__name__)

_LISTENER = "airflow.providers.openlineage.plugins.listener"
# What the listener imports when the first task of a process starts.
_LATER = ("airflow.providers.common.compat.lineage.hook", "airflow.providers.common.sql.hooks.lineage")


def warm() -> None:
    """Make the client, and take one made-up event through all but the writing, if tasks of this process write events.

    Only with airfleet's own transport: another one may open connections, which no forks may share. It never raises: a
    task that starts cold writes the same events.
    """
    listener = sys.modules.get(_LISTENER)
    if listener is None:
        return
    try:
        _warm(listener)
    except Exception as error:
        log.debug("OpenLineage starts cold: %s: %s", type(error).__name__, error)


def _warm(listener: Any) -> None:  # noqa: ANN401 - a module
    from airflow.providers.openlineage import conf

    if conf.config_conn_id() or conf.config_path() or conf.transport().get("type") != TRANSPORT:
        return
    for name in _LATER:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    adapter = listener.get_openlineage_listener().adapter
    client = adapter.get_or_create_openlineage_client()
    event = _make_event()
    # Without the folder of records in the environment, the transport does not write.
    client.emit(adapter._redacter.redact(event, max_depth=20))


def _make_event() -> Any:  # noqa: ANN401 - a RunEvent
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import job_type_job, nominal_time_run, ownership_job, parent_run
    from openlineage.client.serde import Serde

    moment, run = "2026-01-01T00:00:00+00:00", "01a22922-fe5c-7579-b1bf-901c08a38895"
    job_facets = {
        "jobType": job_type_job.JobTypeJobFacet(jobType="TASK", integration="AIRFLOW", processingType="BATCH"),
        "ownership": ownership_job.OwnershipJobFacet([ownership_job.Owner("nobody")]),
    }
    run_facets = {
        "nominalTime": nominal_time_run.NominalTimeRunFacet(moment, moment),
        "parent": parent_run.ParentRunFacet(parent_run.Run(run), parent_run.Job("warm", "warm")),
    }
    event = RunEvent(
        eventType=RunState.START,
        eventTime=moment,
        run=Run(run, dict(run_facets)),
        job=Job("warm", "warm", dict(job_facets)),
        producer="https://airfleet.invalid/warm",
    )
    Serde.to_json(event)
    return event
