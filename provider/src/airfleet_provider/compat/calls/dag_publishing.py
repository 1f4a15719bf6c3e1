"""Write Dags to the metadata database as a Dag processor does, from the release agent."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Collection, Mapping
from typing import Any

from airfleet_provider.compat.calls import config, metadata_db

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# Only for the process of the releaser: it publishes at each request, and syncs permissions itself.
PUBLISHER_SETTINGS = {
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
    "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
    "_AIRFLOW_PROCESS_CONTEXT": "server",
}
TALKATIVE = ("airflow.dag_processing", "airflow.models", "airflow.serialization")


@functools.cache
def _remembering_dag() -> Any:  # noqa: ANN401 - a subclass of LazyDeserializedDAG
    """Return a class of Dags that decode their timetable once. Airflow reads it 17 times, a millisecond each."""
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    class RememberingDag(LazyDeserializedDAG):  # type: ignore[misc]
        @functools.cached_property
        def timetable(self) -> Any:  # noqa: ANN401 - airflow.timetables.base.Timetable
            return super().timetable

    return RememberingDag


def write_dags(
    session: Any,  # noqa: ANN401 - sqlalchemy.orm.Session
    *,
    bundle: str,
    release: str | None,
    dags: Collection[Mapping[str, Any]],
    errors: Mapping[str, str],
) -> dict[str, str]:
    """Store Dags and import errors as a Dag processor does, without a commit.

    Return the files or Dags that could not be stored, with the reason.
    """
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
    """Remove the references to assets of stale Dags, as the Dag processor does."""
    from airflow.models.asset import remove_references_to_deleted_dags

    remove_references_to_deleted_dags(session=session)


def sync_permissions(dags: Collection[Mapping[str, Any]]) -> dict[str, str]:
    """Write the permissions of `access_control` of Dags. It commits by itself, so call it before a publish.

    Return the files whose permissions cannot be written, with the reason, such as a role that does not exist.

    Raises:
        SQLAlchemyError: the database failed.
    """
    from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from sqlalchemy.exc import SQLAlchemyError

    failed = {}
    for data in dags:
        dag = LazyDeserializedDAG(data=dict(data))
        try:
            with metadata_db.open_session() as session:
                manager = ApplessAirflowSecurityManager(session=session)
                manager.sync_perm_for_dag(dag.dag_id, dag.access_control)
        except SQLAlchemyError:
            raise
        except Exception as error:  # whatever a Dag file put there
            failed[data["dag"]["relative_fileloc"]] = f"access_control of {dag.dag_id}: {error}"
    return failed


def prepare_publisher() -> bool:
    """Prepare this process to publish. Return whether FAB's auth manager keeps roles in Airflow's database."""
    from airflow._shared.logging.structlog import PER_LOGGER_LEVELS

    PER_LOGGER_LEVELS.update(dict.fromkeys(TALKATIVE, logging.WARNING))  # four lines for each Dag otherwise
    is_fab = "FabAuthManager" in config.read_setting("core", "auth_manager")
    os.environ.update(PUBLISHER_SETTINGS)
    return is_fab
