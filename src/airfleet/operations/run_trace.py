"""Read the trace of a run from the database of a platform."""

from __future__ import annotations

from airfleet.errors import UsageError
from airfleet.operations import explanation
from airfleet.operations.explanation import ReadablePlatform
from airfleet_provider.contract.explanation import reading as subjects
from airfleet_provider.contract.explanation.reading import NotFoundError
from airfleet_provider.contract.run_trace import reading, spans
from airfleet_provider.contract.run_trace.spans import Trace


def look(place: ReadablePlatform, dag: str, run: str) -> Trace:
    """Return the trace of a run. `run` is a run id, a part of one, or `latest`.

    Raises:
        UsageError: There is no such Dag or run.
        AirfleetError: The database cannot be read.
    """
    with explanation.open_database(place) as database, database.take() as query:
        try:
            subject = subjects.resolve(query, dag, run, None)
        except NotFoundError as error:
            explanation.check_dag(query, dag)
            raise UsageError(error.what, hint=explanation.suggest_run(error, dag)) from None
        found = reading.read(query, dag, subject.run) if subject.run else None
    if found is None or subject.task:
        raise UsageError(f"the Dag {dag} has no run {run!r}", hint=f"airfleet airflow dags list-runs {dag}")
    return spans.build(found)
