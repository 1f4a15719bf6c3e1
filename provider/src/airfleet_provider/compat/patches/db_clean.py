"""`airflow db clean` removes only rows that nothing needs: no live Dag, no unfinished run and nothing that one uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Has

CONFIG = "airflow.utils.db_cleanup:config_dict"
# A run with any other state is finished. Airflow has no constant of its own for them that a cheap import gives.
UNFINISHED_RUNS = ("queued", "running")


def narrow_cleanup() -> None:
    """Let `airflow db clean` spare what is live, however old it is.

    Airflow judges a Dag by the time of its last parse, and a run or a task instance by its start, whatever state it is
    in. It also tries to remove Dags and versions that a foreign key protects, and then ends without cleaning the other
    tables.

    Raises:
        UnfitAirflowError: This Airflow would remove what is live.
    """
    apply(PATCH)


@dataclass(frozen=True, slots=True)
class _Narrowing:
    """What a table's configuration gets beside Airflow's own."""

    columns: tuple[str, ...] = ()
    # Conditions in SQL, of which all must hold. The table is called `base` in them.
    conditions: tuple[str, ...] = ()
    # Columns of other tables that refer to `referenced`: a row that they hold stays.
    holders: tuple[tuple[str, str], ...] = ()
    referenced: str = "id"


_LISTED = ", ".join(f"'{state}'" for state in UNFINISHED_RUNS)
_RUN_IS_FINISHED = (
    "NOT EXISTS (SELECT FROM dag_run AS parent WHERE parent.dag_id = base.dag_id AND parent.run_id = base.run_id"
    f" AND parent.state IN ({_LISTED}))"
)
_TRY_IS_FINISHED = (
    "NOT EXISTS (SELECT FROM task_instance AS task JOIN dag_run AS parent USING (dag_id, run_id)"
    f" WHERE task.id = base.ti_id AND parent.state IN ({_LISTED}))"
)
_DEADLINE_IS_PAST = (
    f"NOT EXISTS (SELECT FROM dag_run AS parent WHERE parent.id = base.dagrun_id AND parent.state IN ({_LISTED}))"
)
NARROWINGS: Mapping[str, _Narrowing] = {
    "dag": _Narrowing(
        conditions=("base.is_stale",),
        holders=(("task_instance", "dag_id"),),
        referenced="dag_id",
    ),
    # A run keeps the version of its Dag that it began with, also for the day on which somebody clears it.
    "dag_version": _Narrowing(columns=("id",), holders=(("dag_run", "created_dag_version_id"),)),
    "dag_run": _Narrowing(conditions=(f"base.state NOT IN ({_LISTED})",)),
    "task_instance": _Narrowing(conditions=(_RUN_IS_FINISHED,)),
    "task_instance_history": _Narrowing(conditions=(_RUN_IS_FINISHED,)),
    "xcom": _Narrowing(conditions=(_RUN_IS_FINISHED,)),
    "task_reschedule": _Narrowing(conditions=(_TRY_IS_FINISHED,)),
    "deadline": _Narrowing(conditions=(_DEADLINE_IS_PAST,)),
    # Deleting a trigger deletes the deferred task instance that waits for it.
    "trigger": _Narrowing(columns=("id",), holders=(("task_instance", "trigger_id"), ("callback", "trigger_id"))),
}


def _make(*found: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    # Only a process that cleans needs it.
    from sqlalchemy import text  # noqa: PLC0415

    made = []
    for config, more in zip(found, NARROWINGS.values(), strict=True):
        kept = {name: getattr(config, name) for name in _FIELDS}
        kept["extra_columns"] = list(dict.fromkeys([*(config.extra_columns or ()), *more.columns])) or None
        kept["extra_filters"] = [*(config.extra_filters or ()), *map(text, more.conditions)] or None
        if more.holders:
            kept["skip_if_referenced"] = [*(config.skip_if_referenced or ()), *more.holders]
            kept["referenced_pk_column"] = more.referenced
        made.append(type(config)(**kept))
    return made


_FIELDS = (
    "table_name",
    "recency_column_name",
    "extra_columns",
    "dag_id_column_name",
    "keep_last",
    "keep_last_filters",
    "keep_last_group_by",
    "dependent_tables",
    "extra_filters",
    "skip_if_referenced",
    "referenced_pk_column",
)
PATCH = Patch(
    name="db-clean",
    targets=tuple(f"{CONFIG}.{table}" for table in NARROWINGS),
    requires=(
        Accepts("airflow.utils.db_cleanup:_TableConfig", named=_FIELDS),
        *(Has(f"{CONFIG}.{table}", _FIELDS) for table in NARROWINGS),
    ),
    make=_make,
    without="`airflow db clean` removes Dags that are live, and runs and deferred tasks that are not finished",
    processes="`airflow db clean`",
    is_required=True,
)
