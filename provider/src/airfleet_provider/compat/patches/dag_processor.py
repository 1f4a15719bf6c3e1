"""Airflow's Dag processor without requests to parse a file again: the release agent answers those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches import crash_reports
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Counts

# ruff: noqa: PLC0415


def list_processor_options() -> tuple[Any, ...]:
    """Return the options of `airflow dag-processor`."""
    from airflow.cli.cli_config import core_commands

    return next(tuple(command.args) for command in core_commands if command.name == "dag-processor")


def run_dag_processor(arguments: Any, on_look: Callable[[], None]) -> None:  # noqa: ANN401 - argparse's namespace
    """Run the Dag processor. It calls `on_look` about once a second, instead of a check for requests.

    Raises:
        UnfitAirflowError: This Airflow would also parse Dag files, beside the release agent.
    """
    from airflow.cli.commands import dag_processor_command

    crash_reports.end_on_crash()  # for the child processes, which load Dag files
    apply(PATCH, on_look)
    dag_processor_command.dag_processor(arguments)


def _make(manager: Any, on_look: Callable[[], None]) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    class CallbackProcessor(manager):  # type: ignore[misc]
        def deactivate_stale_dags(self, last_parsed: dict[Any, Any], **others: Any) -> None:  # noqa: ANN401
            """Deactivate only the Dags of bundles that no longer exist.

            Here, all Dags were parsed long ago. If Airflow stops a callback that runs too long, it treats it as a parse
            of the file, and would deactivate all Dags of the file.
            """
            super().deactivate_stale_dags({}, **others)

        def claim_priority_files(self) -> list[Any]:
            """Return no file, because Airflow would refresh the bundle for each, and repeat that if it fails."""
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
        # Airflow treats the end of a callback as a parse.
        Contains(f"{_MANAGER}._kill_timed_out_processors", ("last_finish_time=timezone.utcnow()",)),
    ),
    make=_make,
    without="the Dag processor takes requests from the release agent, and a stopped callback deactivates live Dags",
    processes="the Dag processor",
    is_required=True,
)
