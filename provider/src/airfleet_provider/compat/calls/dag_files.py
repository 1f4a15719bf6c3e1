"""Find Dag files, and execute them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def list_dag_files(folder: Path) -> tuple[str, ...]:
    """Return the files in the dags/ of a release or a project in which Airflow would search for Dags."""
    from airflow.utils.file import list_py_file_paths

    return tuple(sorted(Path(name).relative_to(folder).as_posix() for name in list_py_file_paths(folder / "dags")))


def load_dags(path: Path, release: Path, bundle: str) -> tuple[list[Any], list[str], list[str]]:
    """Execute a Dag file as Airflow does, and return its Dags, its errors and its warnings."""
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(dag_folder=str(path), bundle_path=release, bundle_name=bundle, load_op_links=False)
    warned = [line for lines in bag.captured_warnings.values() for line in lines]
    return list(bag.dags.values()), list(bag.import_errors.values()), warned


def load_dag_file(path: Path, module: str) -> set[str]:
    """Execute a Dag file for the Dag file `module` that is being executed, add its Dags to it, and return their ids."""
    from airflow.sdk import DAG
    from airflow.sdk.definitions._internal.contextmanager import DagContext
    from airflow.utils.file import get_unique_dag_module_name

    name = get_unique_dag_module_name(str(path))
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # noqa: S101 - a loader was given
    own, found = sys.modules[module], importlib.util.module_from_spec(spec)
    # Airflow reads the file of a Dag from the module with the name of the Dag file that is being executed.
    sys.modules[name] = sys.modules[module] = found
    try:
        loader.exec_module(found)
    finally:
        sys.modules[module] = own
    DagContext.autoregistered_dags.update((one, found) for one in vars(found).values() if isinstance(one, DAG))
    return {dag.dag_id for dag, owner in DagContext.autoregistered_dags if owner is found}


def serialise(dag: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - airflow.sdk.DAG
    """Return the hash by which Airflow notices a change of a Dag, and the serialised Dag."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization

    data: dict[str, Any] = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    return str(SerializedDagModel.hash(data)), data


def import_ahead(paths: Iterable[Path]) -> None:
    """Import the modules of Airflow that Dag files import, so that the child processes do not each import them."""
    from airflow.utils.file import iter_airflow_imports

    for name in sorted({name for path in paths for name in iter_airflow_imports(str(path))}):
        with contextlib.suppress(Exception):  # the Dag file that imports the module will show the error
            importlib.import_module(name)
