"""Find Dag files, and execute them."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

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


class SerialisedDag(NamedTuple):
    """The hash by which Airflow notices a change of a Dag, the serialised Dag, and its text as JSON."""

    hash: str
    data: dict[str, Any]
    text: str


def serialise(dag: Any) -> SerialisedDag:  # noqa: ANN401 - airflow.sdk.DAG
    """Return a Dag as Airflow stores it."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization

    text = json.dumps(DagSerialization.to_dict(dag))
    data: dict[str, Any] = json.loads(text)
    return SerialisedDag(str(SerializedDagModel.hash(data)), data, text)


def is_same(dag: Any, before: SerialisedDag) -> bool:  # noqa: ANN401 - airflow.sdk.DAG
    """Return whether a Dag has the hash of `before`.

    Airflow found the text of `before` valid, so a Dag with that text is neither validated nor hashed again.
    """
    with contextlib.suppress(Exception):  # Airflow's own way says below what is wrong
        if json.dumps(_without_validation().to_dict(dag)) == before.text:
            return True
    return serialise(dag).hash == before.hash


@functools.cache
def _without_validation() -> Any:  # noqa: ANN401 - a subclass of DagSerialization
    from airflow.serialization.serialized_objects import DagSerialization

    class UncheckedSerialization(DagSerialization):  # type: ignore[misc]
        @classmethod
        def validate_schema(cls, serialized_obj: object) -> None:
            pass

    return UncheckedSerialization


def import_ahead(paths: Iterable[Path]) -> None:
    """Import the modules of Airflow that Dag files import, so that the child processes do not each import them."""
    from airflow.utils.file import iter_airflow_imports

    for name in sorted({name for path in paths for name in iter_airflow_imports(str(path))}):
        with contextlib.suppress(Exception):  # the Dag file that imports the module will show the error
            importlib.import_module(name)
