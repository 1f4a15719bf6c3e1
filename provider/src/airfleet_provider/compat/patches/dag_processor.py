"""Airflow's Dag processor without requests to parse a file again: the release agent answers those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airfleet_provider.compat.patches import crash_reports

# ruff: noqa: PLC0415


def list_processor_options() -> tuple[Any, ...]:
    """What `airflow dag-processor` takes on its command line."""
    from airflow.cli.cli_config import core_commands

    return next(tuple(command.args) for command in core_commands if command.name == "dag-processor")


def run_dag_processor(arguments: Any, on_look: Callable[[], None]) -> None:  # noqa: ANN401 - argparse's namespace
    """Run it; `on_look` is called where it would look for requests, about once a second."""
    from airflow.cli.commands import dag_processor_command
    from airflow.dag_processing.manager import DagFileProcessorManager

    class CallbackProcessor(DagFileProcessorManager):  # type: ignore[misc]
        def deactivate_stale_dags(self, last_parsed: dict[Any, Any], **others: Any) -> None:  # noqa: ANN401
            """Deactivate the Dags of bundles that are gone, and no others.

            All Dags were parsed long ago here. Airflow takes a callback that it stops for running too long for a parse
            of its file, and would deactivate all Dags of it.
            """
            super().deactivate_stale_dags({}, **others)

        def claim_priority_files(self) -> list[Any]:
            """None, ever: Airflow would refresh the bundle for them, again and again when it may not."""
            on_look()
            return []

    crash_reports.end_on_crash()  # in the children that it forks, which load Dag files
    dag_processor_command.DagFileProcessorManager = CallbackProcessor
    dag_processor_command.dag_processor(arguments)
