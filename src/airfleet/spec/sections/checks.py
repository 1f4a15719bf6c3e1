"""The `checks` section of fleet.yaml: the level of each check that a release must pass."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from airfleet.spec import fleet
from airfleet.spec.fleet import Level
from airfleet.spec.sections.section import Pattern, Section

_DEFAULT = fleet.Checks()


def _level(check: str, description: str) -> Any:  # noqa: ANN401  (as pydantic types a field's default)
    return Field(default=fleet.CHECK_LEVELS[check], alias=check, description=description)


class ChecksSection(Section):
    """The level of each finding of `airfleet release check`: off, warning or error."""

    missing_connection: Level = _level(
        "missing-connection", "Every connection that a Dag names exists. Switch off if a secrets backend holds them."
    )
    missing_variable: Level = _level(
        "missing-variable",
        "Every variable that a Dag names without a default exists. Switch off if a secrets backend holds them.",
    )
    missing_slot_pool: Level = _level("missing-slot-pool", "The slot pool of every task exists.")
    missing_queue: Level = _level("missing-queue", "The queue of every task has workers.")
    unstable_dag: Level = _level("unstable-dag", "A Dag is the same each time its file is loaded.")
    import_time_access: Level = _level(
        "import-time-access", "Loading a Dag file reads no variable, connection or database, and no network."
    )
    slow_import: Level = _level(
        "slow-import",
        "A Dag file that takes longer than `parse_seconds` to load is a warning; five times that is an error.",
    )
    airflow_2_code: Level = _level(
        "airflow-2-code",
        "No Dag file uses what Airflow 3 removed. The use of a name that Airflow 3 changed is a warning.",
    )
    project_tests: Level = _level("project-tests", "The project's own tests pass.")
    owner: Level = _level("owner", "Every Dag has an owner, and it is not `airflow`.")
    tags: Level = _level("tags", "Every Dag has a tag.")
    description: Level = _level("description", "Every Dag has a description or a doc_md.")
    retries: Level = _level("retries", "Every task has retries.")
    execution_timeout: Level = _level("execution-timeout", "Every task has an execution_timeout.")
    naming: Level = _level("naming", "Every Dag id fits `dag_id_pattern`.")
    catchup: Level = _level("catchup", "No Dag starts more than `catchup_runs` runs when it is first unpaused.")
    schedule: Level = _level(
        "schedule", "A schedule fires, but not every minute. Its start_date is fixed, its end_date is in the future."
    )
    unmatched_sla: Level = _level("unmatched-sla", "Every rule of `slas` is about a Dag, a task or an asset.")
    parse_seconds: Annotated[float, Field(ge=0.01)] = Field(
        default=_DEFAULT.parse_seconds, description="Seconds that a Dag file may take to load."
    )
    catchup_runs: Annotated[int, Field(ge=1)] = Field(
        default=_DEFAULT.catchup_runs, description="Runs that a Dag may start at once to catch up."
    )
    dag_id_pattern: Pattern = Field(
        default=_DEFAULT.dag_id_pattern, description="The regular expression that a whole Dag id must match."
    )
