"""The names of Airflow's that compat relies on, as the installed Airflow has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pygtrie
import pytest
from airflow import settings
from airflow._shared.logging import structlog
from airflow.cli import cli_config
from airflow.dag_processing import collection, dagbag, manager
from airflow.dag_processing.bundles import base
from airflow.dag_processing.importers import python_importer
from airflow.models.asset import remove_references_to_deleted_dags
from airflow.models.serialized_dag import SerializedDagModel
from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager
from airflow.sdk.definitions._internal import contextmanager
from airflow.sdk.exceptions import AirflowRescheduleException
from airflow.sdk.execution_time import supervisor, task_runner
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.utils import file
from airflow.utils.session import create_session

from airfleet_provider import provider_info
from airfleet_provider.compat.calls import config, dag_publishing, task_process


def accepts(function: Callable[..., Any], *positional: str, **named: str) -> bool:
    inspect.signature(function).bind(*positional, **named)
    return True


def test_signatures() -> None:
    assert accepts(base.get_bundle_storage_root_path)
    assert accepts(create_session, scoped="")
    assert accepts(file.list_py_file_paths, "folder")
    assert accepts(file.iter_airflow_imports, "file")
    assert accepts(dagbag.BundleDagBag, dag_folder="", bundle_path="", bundle_name="", load_op_links="")
    assert accepts(DagSerialization.to_dict, "dag")
    assert accepts(SerializedDagModel.hash, "data")
    assert accepts(remove_references_to_deleted_dags, session="")
    assert accepts(ApplessAirflowSecurityManager, session="")
    assert accepts(ApplessAirflowSecurityManager.sync_perm_for_dag, "self", "dag", "control")
    assert accepts(AirflowRescheduleException, "date")
    assert accepts(cli_config.lazy_load_command, "path")
    assert accepts(
        collection.update_dag_parsing_results_in_db,
        bundle_name="",
        bundle_version="",
        dags="",
        import_errors="",
        parse_duration="",
        warnings="",
        session="",
        files_parsed="",
    )


def test_a_stored_dag_reads_its_timetable_from_its_data() -> None:
    assert isinstance(inspect.getattr_static(LazyDeserializedDAG, "timetable"), property)
    known = dag_publishing._remembering_dag()
    data = {"dag": {"timetable": {"__type": "airflow.timetables.simple.NullTimetable", "__var": {}}}}
    dag = known(data=data)
    assert dag.timetable is dag.timetable
    assert type(dag.timetable) is type(LazyDeserializedDAG(data=data).timetable)


def test_a_dag_file_that_loads_another_gives_it_its_dags() -> None:
    assert isinstance(contextmanager.DagContext.autoregistered_dags, set)
    autoregister = inspect.getsource(contextmanager.DagContext.pop)
    assert "mod = sys.modules[cls.current_autoregister_module_name]" in autoregister
    assert "cls.autoregistered_dags.add((dag, mod))" in autoregister
    process = inspect.getsource(python_importer.PythonDagImporter._process_modules)
    assert "top_level_dags.update(DagContext.autoregistered_dags)" in process
    assert "dag.fileloc = mod.__file__" in process
    assert accepts(file.get_unique_dag_module_name, "path")


def test_a_task_says_which_dag_it_is_of_before_its_file_is_found() -> None:
    source = inspect.getsource(task_runner.startup)
    assert source.index("_airflow_parsing_context_manager(dag_id=msg.ti.dag_id") < source.index("parse(msg, log)")


def test_a_server_and_a_task_have_other_back_ends() -> None:
    assert '"_AIRFLOW_PROCESS_CONTEXT") == "server"' in inspect.getsource(supervisor.ensure_secrets_backend_loaded)


def test_a_task_is_known_by_its_channel() -> None:
    assert "SUPERVISOR_COMMS" in task_runner.__annotations__
    assert not task_process.is_task()
    assert "except AirflowRescheduleException as reschedule" in inspect.getsource(task_runner.main)


def test_publishing_obeys_the_settings_that_are_overridden() -> None:
    source = inspect.getsource(collection._serialize_dag_capturing_errors)
    assert '"min_serialized_dag_update_interval"' in source
    assert 'if "FabAuthManager" in conf.get("core", "auth_manager")' in source


def test_log_levels_go_by_the_longest_prefix() -> None:
    assert isinstance(structlog.PER_LOGGER_LEVELS, pygtrie.StringTrie)
    assert "PER_LOGGER_LEVELS.longest_prefix(logger_name)" in inspect.getsource(structlog)


def test_a_session_that_is_not_scoped_is_nobody_elses() -> None:
    assert "NonScopedSession" in inspect.getsource(create_session)
    assert hasattr(settings, "configure_orm")


def test_a_bundle_that_refuses_to_refresh_is_left_alone() -> None:
    source = inspect.getsource(manager.DagFileProcessorManager._refresh_dag_bundles)
    refresh, scan = source.index("bundle.refresh()"), source.index("self._find_files_in_bundle")
    assert refresh < scan
    assert source[refresh:].index("continue") < source[refresh:].index("self._find_files_in_bundle")
    assert source.index("now_seconds < next_check") < refresh


def test_the_provider_is_described_as_airflow_wants_it() -> None:
    info = provider_info.get_provider_info()
    assert {"package-name", "name", "description"} <= set(info)
    (group,) = provider_info.list_commands()
    names = [command.name for command in group.subcommands]
    assert (group.name, names) == (
        "airfleet",
        [
            "access",
            *("admin", "archive", "care", "dag-test", "dag-processor", "execution-api", "logs", "migrate", "patches"),
            *("releaser", "scheduler", "sla", "access-token"),
        ],
    )


@pytest.mark.parametrize("part", ["airflow ", "python ", "packages "])
def test_the_environment_names_what_parsing_depends_on(part: str) -> None:
    assert part in config.describe_environment()
