"""A program: `airflow dags list` with every option, as Airflow runs it and as it runs with the patch. It prints JSON.

Its AIRFLOW_HOME is an empty folder. Each answer has the streams, the exit code, and how many Dags were deserialised.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

# Airflow is imported after its settings are made.
# ruff: noqa: PLC0415

BUNDLES = ("one", "two")
WAYS = (
    *([], ["-v"], ["--columns", "dag_id,tags,no_such"], ["--columns", "no_such"]),
    *(["--output", form] for form in ("table", "plain", "json", "yaml")),
    *(["--bundle-name", name] for name in (*BUNDLES, "unknown")),
    ["--bundle-name", "two", "--output", "json"],
)


def set_up(home: Path) -> None:
    """Make Airflow's tables in a database of SQLite, and settings."""
    listed = [{"name": name, "classpath": _LOCAL, "kwargs": {"path": str(home)}} for name in BUNDLES]
    os.environ |= {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API__SECRET_KEY": "the same for both",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(listed),
    }
    from airflow import models, settings
    from airflow.models.base import Base

    models.import_all_models()
    Base.metadata.create_all(settings.engine)


_LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"


def fill() -> None:
    """Publish Dags of several kinds as the Dag processor does: one of them twice, beside an import error."""
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    def make(name: str, *tasks: str, **more: Any) -> LazyDeserializedDAG:  # noqa: ANN401 - what a Dag takes
        with DAG(name, start_date=datetime(2026, 1, 2, tzinfo=UTC), **more) as dag:
            for task in tasks:
                EmptyOperator(task_id=task, owner=f"owner of {task}")
        dag.fileloc, dag.relative_fileloc = f"/dags/{name}.py", f"{name}.py"
        return LazyDeserializedDAG.from_dag(dag)

    with create_session() as session:
        session.add_all(DagBundleModel(name=name) for name in BUNDLES)
    batches = (
        (
            "one",
            [make("zebra", "a", "b", tags=["two", "one"]), make("Äpfel", "a", schedule="@daily", description="é [b]x")],
        ),
        ("two", [make("apple", "a", schedule="5 4 * * *", max_active_runs=3, dag_display_name="An apple")]),
        ("one", [make("zebra", "a", "b", "c", tags=["three", "one"], is_paused_upon_creation=True)]),
    )
    errors: dict[tuple[str, str], str] = {("one", "broken.py"): "SyntaxError"}
    for bundle, dags in batches:
        with create_session() as session:
            files = {(bundle, f"{dag.dag_id}.py") for dag in dags}
            update_dag_parsing_results_in_db(
                bundle, None, dags, errors if bundle == "one" else {}, None, set(), session, files_parsed=files
            )


def listing(arguments: list[str]) -> dict[str, object]:
    """Run the command in this process."""
    from airflow.cli import cli_parser
    from airflow.serialization.serialized_objects import DagSerialization

    out, err, code = io.StringIO(), io.StringIO(), object()
    read = mock.Mock(side_effect=DagSerialization.from_dict)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each is shown once in a process
        try:
            with mock.patch.object(DagSerialization, "from_dict", read):
                parsed = cli_parser.get_parser().parse_args(["dags", "list", *arguments])
                parsed.func(parsed)
            code = 0
        except SystemExit as stop:
            code = stop.code
        except Exception as error:
            code = repr(error)
    return {"out": out.getvalue(), "err": err.getvalue(), "code": code, "read": read.call_count}


def change(statement: str) -> Callable[[], None]:
    """Return a function that changes the database."""

    def execute() -> None:
        from airflow.utils.session import create_session
        from sqlalchemy import text

        with create_session() as session:
            session.execute(text(statement))

    return execute


def compress() -> None:
    """Let a Dag be stored as Airflow stores it with `compress_serialized_dags`."""
    import zlib

    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        for row in session.scalars(select(SerializedDagModel).where(SerializedDagModel.dag_id == "apple")):
            row._data_compressed, row._data = zlib.compress(json.dumps(row._data).encode()), None


STEPS: dict[str, Callable[[], None]] = {
    "empty": lambda: None,
    "usual": fill,
    "no-tags": change("DELETE FROM dag_tag"),
    "no-import-errors": change("DELETE FROM import_error"),
    "compressed": compress,
    "other-id": change("UPDATE serialized_dag SET data = json_set(data, '$.dag.dag_id', 'x') WHERE dag_id = 'zebra'"),
    "other-version": change("UPDATE serialized_dag SET data = json_set(data, '$.__version', 9) WHERE dag_id = 'zebra'"),
}


def read_elsewhere() -> list[str]:
    """Read all Dags with a session, as a plugin may in a component that is forked from the image. Return task ids."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        return sorted(getattr(SerializedDagModel.read_all_dags(session=session)["zebra"], "task_ids", ()))


def list_ways() -> Iterator[list[str]]:
    """Yield the arguments with which the command runs: with each column too."""
    from airflow.cli.commands.dag_command import DAG_DETAIL_FIELDS

    yield from WAYS
    yield ["--columns", ",".join(sorted(DAG_DETAIL_FIELDS)), "--output", "json"]
    yield from (["--columns", name, "--output", "plain"] for name in sorted(DAG_DETAIL_FIELDS))


def main() -> None:
    """Print each answer by the state of the database, of Airflow alone and with the patch."""
    set_up(Path(os.environ["AIRFLOW_HOME"]))
    from airfleet_provider.compat.patches import dag_list
    from airfleet_provider.compat.patches.patch import undo

    found, elsewhere = {}, []
    for name, prepare in STEPS.items():
        prepare()
        for arguments in list_ways():
            stock = listing(arguments)
            dag_list.list_dags_by_rows()
            patched = listing(arguments)
            undo(dag_list.PATCH)
            found[f"{name} {' '.join(arguments)}"] = (stock, patched)
        if name == "usual":
            dag_list.list_dags_by_rows()
            elsewhere = read_elsewhere()
            undo(dag_list.PATCH)
    json.dump({"answers": found, "elsewhere": elsewhere}, sys.stdout)


if __name__ == "__main__":
    main()
