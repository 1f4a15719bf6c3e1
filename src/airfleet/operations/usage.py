"""What the tasks of a platform used, read from its metadata database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

from airfleet.operations import metadata_database
from airfleet.workspace.project import find_project, read_fleet
from airfleet_provider.contract import usage_summary
from airfleet_provider.contract.run_times import RunTimePrediction
from airfleet_provider.contract.usage_summary import ChosenAttempts, UsageSummary

# A report over many attempts must not burden the database for longer.
STATEMENT_S = 120


def read_usage(
    project: Path,
    state: Path | None,
    *,
    since: datetime,
    dag: str | None,
    task: str | None,
    pool: str | None,
    with_run_times: bool,
) -> tuple[tuple[UsageSummary, ...], Mapping[tuple[str, str], RunTimePrediction]]:
    """Return what tasks used whose attempts ended since a moment, and the pools, each before its tasks.

    With `with_run_times`, also return how long the next run of each task will take, by the ids of Dag and task.

    Raises:
        UsageError: There is no such project, or its fleet.yaml is wrong.
        AirfleetError: No platform runs there, or its database does not answer.
    """
    project = find_project(project)
    fleet = read_fleet(project)
    # A queue that several pools serve is named after all of them: nobody knows which of them ran an attempt.
    pools = {queue: "+".join(one.name for one in fleet.pools if queue in one.queues) for queue in fleet.queues}
    chosen = ChosenAttempts(since, dag, task, pool, pools)
    with metadata_database.connect(fleet, project, state, what="records of usage") as connection:

        def query(statement: LiteralString, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
            return connection.execute(statement, values).fetchall()

        with connection.transaction():
            connection.execute(f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {STATEMENT_S * 1000}")
            found = usage_summary.summarise(query, chosen)
            return found, usage_summary.predict_run_times(query, chosen) if with_run_times else {}
