"""`airflow dags list` reads the rows of Dags, and not all of their tasks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Counts, Digest, Has, Versions

# The forms of serialised Dags that Airflow reads, and that have the id of the Dag where this module looks for it.
READ_VERSIONS = ("2", "3")
# The module whose only call of the function is that of the command.
COMMAND = "airflow.cli.commands.dag_command"


@dataclass(frozen=True, slots=True)
class ListedRow:
    """What the command asks of a Dag. While it holds the row, the session finds the row without a query."""

    dag_id: str
    row: object


def list_dags_by_rows() -> None:
    """Let `airflow dags list` load only the rows that it shows.

    Airflow makes each Dag of its serialised form first, with all tasks, and uses only the id. Then it reads each row,
    and the tags of each row, by a query of its own. At last it makes all columns of each row, which takes half of the
    time that is left, as one of them is signed.

    A Dag that is stored in an unusual way, such as compressed or with another id, makes the command go Airflow's own
    way. A Dag whose tasks cannot be read is listed here. Airflow's own way ends with an error and lists nothing. Every
    other caller of the function gets whole Dags, as before.
    """
    apply(PATCH)


def list_code() -> Sequence[Any]:
    """Return the code that must be as it was when the patch was written."""
    from airflow.cli.commands.dag_command import dag_list_dags  # noqa: PLC0415 - no process but the command needs it
    from airflow.models.dag import DagModel  # noqa: PLC0415
    from airflow.models.serialized_dag import SerializedDagModel  # noqa: PLC0415
    from airflow.serialization.serialized_objects import DagSerialization  # noqa: PLC0415

    model = SerializedDagModel
    ways = (model.read_all_dags, model._latest_by_version_select, model.dag.fget, model.data.fget)
    return (dag_list_dags, *ways, DagSerialization.from_dict, DagModel.get_dagmodel)


def _make(original: Callable[..., dict[str, Any]], response: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's class
    from airflow.models.dag import DagModel  # noqa: PLC0415 - reading the registry imports no Airflow
    from airflow.models.serialized_dag import SerializedDagModel as Stored  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415
    from sqlalchemy.orm import selectinload  # noqa: PLC0415

    def read_listed(*, session: Any = None) -> dict[str, Any]:  # noqa: ANN401 - a session of SQLAlchemy
        # The components of one machine are forks of the image too, and a plugin in one of them wants whole Dags.
        is_command = sys._getframe(1).f_globals.get("__name__") == COMMAND
        if session is None or not is_command or logging.getLogger(Stored.__module__).isEnabledFor(logging.DEBUG):
            return original(**({"session": session} if session else {}))
        data, packed = Stored._data, Stored._data_compressed
        wanted = (Stored.dag_id, data["__version"].as_string(), data[("dag", "dag_id")].as_string(), packed.is_(None))
        latest = session.execute(Stored._latest_by_version_select().with_only_columns(*wanted)).all()
        rows = {row.dag_id: row for row in session.scalars(select(DagModel).options(selectinload(DagModel.tags)))}
        for dag_id, version, own_id, is_plain in latest:
            if not is_plain or str(version) not in READ_VERSIONS or own_id != dag_id or dag_id not in rows:
                return original(session=session)
        return {dag_id: ListedRow(dag_id, rows[dag_id]) for dag_id, *_ in latest}

    class ListedResponse:
        """Airflow's answer about a Dag, with the columns that the command shows."""

        from_orm = staticmethod(response.from_orm)

        @staticmethod
        def model_validate(row: Any, **options: Any) -> Any:  # noqa: ANN401 - as Airflow's
            shown = sys._getframe(1).f_locals.get("cols")
            return _ShownColumns(response.model_validate(row, **options), shown)

    return (staticmethod(read_listed), ListedResponse)


@dataclass(frozen=True, slots=True)
class _ShownColumns:
    answer: Any
    # None or empty: all.
    names: Sequence[str] | None

    def model_dump(self) -> dict[str, Any]:
        dumped: dict[str, Any] = self.answer.model_dump(include=set(self.names) if self.names else None)
        return dumped


_STORED = "airflow.models.serialized_dag:SerializedDagModel"
PATCH = Patch(
    name="dag-list",
    targets=(f"{_STORED}.read_all_dags", f"{COMMAND}:DAGResponse"),
    requires=(
        Versions(("3.3.",)),
        Accepts(f"{_STORED}.read_all_dags", named=("session",)),
        Accepts(f"{_STORED}._latest_by_version_select"),
        Has(_STORED, ("dag_id", "_data", "_data_compressed")),
        Has("airflow.models.dag:DagModel", ("dag_id", "tags")),
        Counts(COMMAND, "DAGResponse.model_validate(dag_model, from_attributes=True).model_dump()", 1),
        Counts(COMMAND, "dag_detail[col] for col in cols", 1),
        # The other uses: two for the names of the columns, and `from_orm`.
        Counts(COMMAND, "DAGResponse.", 4),
    ),
    assumes=(
        Digest(
            "what `airflow dags list` needs of a Dag",
            list_code,
            "5a1233158d13029884c46a0a28bd88edddde7bb259dfdf916c85f712476a25d5",
        ),
    ),
    make=_make,
    without="`airflow dags list` loads all tasks of all Dags, which takes half a second of CPU for 5000 tasks",
    processes="the image of one machine, for `airfleet airflow dags list`",
)
