"""Commands of Airflow that look for a Dag write none, and `airflow tasks list` reads the stored one."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply, undo
from airfleet_provider.compat.patches.requirements import Accepts, Contains

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# The command that asks only for the ids of a Dag's tasks.
LISTING = "task_list"


def look_up_stored_dags() -> None:
    """Let `airflow tasks list`, `render` and `test` write no Dag that the releaser has written.

    Airflow parses each file of each bundle, and writes all Dags to the database. That takes seconds, and if a release
    goes live meanwhile, its Dags become those of the release before. A Dag that the releaser has not stored, or that
    has left the live release, is looked for as in Airflow.
    """
    apply(PATCH)


def _make(original: Callable[..., Any]) -> Sequence[Any]:
    @functools.wraps(original)
    def get_bagged_dag(bundle_names: Any, dag_id: str, dagfile_path: str | None = None) -> Any:  # noqa: ANN401 - Airflow's own
        stored = None if bundle_names or dagfile_path else _read_stored(dag_id)
        if stored is None:
            return original(bundle_names, dag_id, dagfile_path)
        if sys._getframe(1).f_code.co_name == LISTING:
            return stored.dag
        apply(WRITES)
        try:
            return original(bundle_names, dag_id, dagfile_path)
        finally:
            undo(WRITES)

    return (get_bagged_dag,)


def _read_stored(dag_id: str) -> Any:  # noqa: ANN401 - a SerializedDagModel, or None
    from airflow.models.dag import DagModel
    from airflow.models.serialized_dag import SerializedDagModel

    current = DagModel.get_current(dag_id)
    return SerializedDagModel.get(dag_id) if current and not current.is_stale else None


_WRITE = "airflow.dag_processing.dagbag:sync_bag_to_db"
_COMMANDS, _LOOKUP = "airflow.cli.commands.task_command", "airflow.utils.cli:get_bagged_dag"
PATCH = Patch(
    name="dag-lookup",
    targets=(f"{_COMMANDS}:get_bagged_dag",),
    requires=(
        Accepts(_LOOKUP, ("bundle_names", "dag_id", "dagfile_path")),
        Contains(
            _LOOKUP, ("from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db", "sync_bag_to_db(")
        ),
        Contains(f"{_COMMANDS}:task_list", ("tasks = sorted(t.task_id for t in dag.tasks)",)),
        Accepts("airflow.models.serialized_dag:SerializedDagModel.get", ("dag_id",), ("session",)),
        Accepts("airflow.models.dag:DagModel.get_current", ("dag_id",), ("session",)),
    ),
    make=_make,
    without="`airflow tasks list` parses all Dag files, and may write Dags of the release before the live one",
    processes="commands of Airflow",
)
WRITES = Patch(
    name="dag-lookup-writes",
    targets=(_WRITE,),
    requires=(
        Accepts(_WRITE, ("dagbag", "bundle_name", "bundle_version")),
        Contains(_LOOKUP, ("    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db",)),
    ),
    make=lambda _: (lambda *_, **__: None,),
    without="`airflow tasks test` and `render` may write Dags of the release before the live one",
    processes="commands of Airflow, while they look for a Dag",
)
