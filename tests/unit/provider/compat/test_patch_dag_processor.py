"""The names of Airflow's Dag processor that compat relies on, as the installed Airflow has them."""

from __future__ import annotations

import inspect

from airflow.api_fastapi.core_api.routes.public import dag_parsing
from airflow.cli.commands import dag_processor_command
from airflow.dag_processing.manager import DagFileProcessorManager
from airflow.models.dagbag import DagPriorityParsingRequest

from airfleet_provider.compat.patches import dag_processor


def test_the_command_makes_the_manager_by_a_name_of_its_module() -> None:
    assert "processor=DagFileProcessorManager(" in inspect.getsource(
        dag_processor_command._create_dag_processor_job_runner
    )
    assert list(inspect.signature(dag_processor_command.dag_processor).parameters) == ["args"]
    assert dag_processor.list_processor_options()


def test_requests_are_claimed_in_one_place_once_a_turn() -> None:
    assert list(inspect.signature(DagFileProcessorManager.claim_priority_files).parameters) == ["self"]
    assert "self.claim_priority_files()" in inspect.getsource(
        DagFileProcessorManager._queue_requested_files_for_parsing
    )
    assert inspect.getsource(DagFileProcessorManager).count("_claim_priority_files(") == 2


def test_a_request_is_a_row_with_a_bundle_and_a_file() -> None:
    table = DagPriorityParsingRequest.__table__
    assert table.name == "dag_priority_parsing_request"
    assert {"bundle_name", "relative_fileloc"} <= set(table.columns.keys())
    assert "DagPriorityParsingRequest(" in inspect.getsource(dag_parsing)


def test_a_callback_that_is_stopped_deactivates_no_dag() -> None:
    stopped = inspect.getsource(DagFileProcessorManager._kill_timed_out_processors)
    assert "last_finish_time=timezone.utcnow()" in stopped, "Airflow takes it for a parse: see deactivate_stale_dags"
    parameters = inspect.signature(DagFileProcessorManager.deactivate_stale_dags).parameters
    assert list(parameters) == ["self", "last_parsed", "session"]
