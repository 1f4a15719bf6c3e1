"""The only module that touches names Airflow keeps to itself; tests/unit/provider/test_compat.py holds it to them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# The releaser's own process only: it publishes as often as it is asked to, and syncs permissions itself.
PUBLISHER_SETTINGS = {
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
    "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
    "_AIRFLOW_PROCESS_CONTEXT": "server",
}

TALKATIVE = ("airflow.dag_processing", "airflow.models", "airflow.serialization")


def read_setting(section: str, key: str, fallback: str = "") -> str:
    """A value of airflow.cfg or the environment."""
    from airflow.configuration import conf

    return str(conf.get(section, key, fallback=fallback))


def storage_root() -> Path:
    """The folder below which every bundle has its own."""
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    return Path(get_bundle_storage_root_path())


def describe_environment() -> str:
    """What decides, beside the files of a release, how a Dag file parses: Python, every installed package, routing."""
    installed = sorted({f"{one.name}=={one.version}" for one in importlib.metadata.distributions()})
    digest = hashlib.sha256("\n".join(installed).encode()).hexdigest()[:16]
    airflow = importlib.metadata.version("apache-airflow-core")
    routing = hashlib.sha256(read_setting("airfleet", "routing").encode()).hexdigest()[:16]
    python = ".".join(platform.python_version_tuple()[:2])
    return f"airflow {airflow}, python {python}, packages {digest}, routing {routing}"


def connect(name: str = "airfleet") -> Any:  # noqa: ANN401 - a psycopg2 connection, which has no types
    """A connection of its own to the metadata database, outside every pool, in autocommit mode, under this name."""
    from airflow import settings

    dialect = settings.engine.dialect
    words, options = dialect.create_connect_args(settings.engine.url)
    connection = dialect.loaded_dbapi.connect(*words, **{**options, "application_name": name})
    connection.autocommit = True
    return connection


@contextlib.contextmanager
def open_session() -> Iterator[Any]:
    """A session that commits at the end and rolls back on an error; nobody else in this thread is given it."""
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session


def list_dag_files(folder: Path) -> tuple[str, ...]:
    """The files in the dags/ of a release or a project that Airflow would look for Dags in."""
    from airflow.utils.file import list_py_file_paths

    return tuple(sorted(Path(name).relative_to(folder).as_posix() for name in list_py_file_paths(folder / "dags")))


def load_dags(path: Path, release: Path, bundle: str) -> tuple[list[Any], list[str], list[str]]:
    """Execute a Dag file as Airflow does: its Dags, its errors and its warnings."""
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(dag_folder=str(path), bundle_path=release, bundle_name=bundle, load_op_links=False)
    warned = [line for lines in bag.captured_warnings.values() for line in lines]
    return list(bag.dags.values()), list(bag.import_errors.values()), warned


def load_dag_file(path: Path, module: str) -> set[str]:
    """Execute a Dag file for the Dag file `module` that is being executed, which then has its Dags; their ids."""
    from airflow.sdk import DAG
    from airflow.sdk.definitions._internal.contextmanager import DagContext
    from airflow.utils.file import get_unique_dag_module_name

    name = get_unique_dag_module_name(str(path))
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # noqa: S101 - a loader was given
    own, found = sys.modules[module], importlib.util.module_from_spec(spec)
    # Airflow takes a Dag's file from the module that goes by the name of the one that is being executed.
    sys.modules[name] = sys.modules[module] = found
    try:
        loader.exec_module(found)
    finally:
        sys.modules[module] = own
    DagContext.autoregistered_dags |= {(one, found) for one in vars(found).values() if isinstance(one, DAG)}
    return {dag.dag_id for dag, owner in DagContext.autoregistered_dags if owner is found}


def serialise(dag: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - airflow.sdk.DAG
    """What Airflow stores of a Dag, and the hash by which it sees a change."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization

    data: dict[str, Any] = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    return str(SerializedDagModel.hash(data)), data


@functools.cache
def _remembering_dag() -> Any:  # noqa: ANN401 - a subclass of LazyDeserializedDAG
    """A Dag that decodes its timetable once; Airflow asks for it 17 times, and each costs a millisecond."""
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    class RememberingDag(LazyDeserializedDAG):  # type: ignore[misc]
        @functools.cached_property
        def timetable(self) -> Any:  # noqa: ANN401 - airflow.timetables.base.Timetable
            return super().timetable

    return RememberingDag


def import_ahead(paths: Iterable[Path]) -> None:
    """Import what Dag files want of Airflow, so that the children that execute them need not each."""
    from airflow.utils.file import iter_airflow_imports

    for name in sorted({name for path in paths for name in iter_airflow_imports(str(path))}):
        with contextlib.suppress(Exception):  # the Dag file that wants it will say why it does not work
            importlib.import_module(name)


def write_dags(
    session: Any,  # noqa: ANN401 - sqlalchemy.orm.Session
    *,
    bundle: str,
    release: str | None,
    dags: Collection[Mapping[str, Any]],
    errors: Mapping[str, str],
) -> dict[str, str]:
    """Store Dags and import errors as a Dag processor would, without a commit; what could not be stored, and why."""
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db

    known = _remembering_dag()
    found = {(bundle, path): text for path, text in errors.items()}
    update_dag_parsing_results_in_db(
        bundle_name=bundle,
        bundle_version=release,
        dags=[known(data=dict(data)) for data in dags],
        import_errors=found,
        parse_duration=None,
        warnings=set(),
        session=session,
        files_parsed=set(found),
    )
    return {path: text for (_, path), text in found.items() if path not in errors}


def remove_references(session: Any) -> None:  # noqa: ANN401 - sqlalchemy.orm.Session
    """Forget the assets of Dags that went stale, as the Dag processor does."""
    from airflow.models.asset import remove_references_to_deleted_dags

    remove_references_to_deleted_dags(session=session)


def sync_permissions(dags: Collection[Mapping[str, Any]]) -> None:
    """Give roles what Dags declare in `access_control`; it commits by itself, so it comes before a publish."""
    from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    with open_session() as session:
        manager = ApplessAirflowSecurityManager(session=session)
        for data in dags:
            dag = LazyDeserializedDAG(data=dict(data))
            manager.sync_perm_for_dag(dag.dag_id, dag.access_control)


def is_task() -> bool:
    """Whether this process runs user code, or loads it for tasks, and so has no way to the database."""
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return getattr(runner, "SUPERVISOR_COMMS", None) is not None or is_blocked()


def is_blocked() -> bool:
    """Whether Airflow has taken the database away from this process, as from each that runs or loads a task."""
    settings, supervisor = (
        sys.modules.get(name) for name in ("airflow.settings", "airflow.sdk.execution_time.supervisor")
    )
    blocked = getattr(supervisor, "BlockedDBSession", None)
    return blocked is not None and getattr(settings, "Session", None) is blocked


def read_secret_key() -> str:
    """The key that all hosts of a platform share, with which they sign what they ask of each other."""
    from airflow.configuration import conf

    key: str = conf.get("api", "secret_key")
    return key


def reschedule(seconds: float, now: datetime) -> Exception:
    """What a task raises while it starts, to be started again later without losing a try."""
    from airflow.sdk.exceptions import AirflowRescheduleException

    error: Exception = AirflowRescheduleException(now + timedelta(seconds=seconds))
    return error


def prepare_publisher() -> bool:
    """Set this process up to publish; whether roles are kept in Airflow's database by the FAB auth manager."""
    from airflow._shared.logging.structlog import PER_LOGGER_LEVELS

    PER_LOGGER_LEVELS.update(dict.fromkeys(TALKATIVE, logging.WARNING))  # four lines for each Dag otherwise
    is_fab = "FabAuthManager" in read_setting("core", "auth_manager")
    os.environ.update(PUBLISHER_SETTINGS)
    return is_fab
