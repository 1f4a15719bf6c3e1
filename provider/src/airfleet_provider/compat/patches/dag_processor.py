"""Airflow's Dag processor without requests to parse a file again: the release agent answers those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches import crash_reports
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Counts

# ruff: noqa: PLC0415


def list_processor_options() -> tuple[Any, ...]:
    """What `airflow dag-processor` takes on its command line."""
    from airflow.cli.cli_config import core_commands

    return next(tuple(command.args) for command in core_commands if command.name == "dag-processor")


def run_dag_processor(arguments: Any, on_look: Callable[[], None]) -> None:  # noqa: ANN401 - argparse's namespace
    """Run it; `on_look` is called where it would look for requests, about once a second.

    Raises UnfitAirflowError where it would parse Dag files as well, beside the release agent.
    """
    from airflow.cli.commands import dag_processor_command

    crash_reports.end_on_crash()  # in the children that it forks, which load Dag files
    apply(PATCH, on_look)
    dag_processor_command.dag_processor(arguments)


def _make(manager: Any, on_look: Callable[[], None]) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    class CallbackProcessor(manager):  # type: ignore[misc]
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

    return (CallbackProcessor,)


_COMMAND = "airflow.cli.commands.dag_processor_command"
_MANAGER = "airflow.dag_processing.manager:DagFileProcessorManager"
PATCH = Patch(
    name="callback-processor",
    targets=(f"{_COMMAND}:DagFileProcessorManager",),
    requires=(
        Accepts(f"{_COMMAND}:dag_processor", ("args",)),
        Contains(f"{_COMMAND}:_create_dag_processor_job_runner", ("processor=DagFileProcessorManager(",)),
        Accepts(f"{_MANAGER}.claim_priority_files", ("self",)),
        Contains(f"{_MANAGER}._queue_requested_files_for_parsing", ("self.claim_priority_files()",)),
        Counts("airflow.dag_processing.manager", "_claim_priority_files(", 2),
        Accepts(f"{_MANAGER}.deactivate_stale_dags", ("self", "last_parsed"), ("session",)),
        # Airflow takes the end of a callback for a parse.
        Contains(f"{_MANAGER}._kill_timed_out_processors", ("last_finish_time=timezone.utcnow()",)),
    ),
    make=_make,
    without="the Dag processor takes requests from the release agent, and a stopped callback deactivates live Dags",
    processes="the Dag processor",
    is_required=True,
)
