"""What Airflow asks a provider for, and the commands it adds to Airflow's own; imports nothing heavy."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand


def get_provider_info() -> dict[str, Any]:
    """The provider as Airflow's providers manager wants it described."""
    return {
        "package-name": "airfleet-provider",
        "name": "airfleet",
        "description": "Releases, fast task starts and operations for Airflow on plain machines.",
        "cli": ["airfleet_provider.provider_info.list_commands"],
    }


def list_commands() -> list[CLICommand]:
    """The commands below `airflow airfleet`; what they run is imported when they run.

    Airflow asks every provider for its commands before it runs any, so this is where `airflow db clean` is narrowed.
    """
    from airflow.cli.cli_config import (  # noqa: PLC0415
        ARG_OUTPUT,
        ActionCommand,
        Arg,
        GroupCommand,
        lazy_load_command,
    )

    from airfleet_provider.compat.calls.execution_api import list_options  # noqa: PLC0415
    from airfleet_provider.compat.patches.dag_processor import list_processor_options  # noqa: PLC0415
    from airfleet_provider.compat.patches.db_clean import narrow_cleanup  # noqa: PLC0415

    if sys.argv[1:3] == ["db", "clean"]:
        narrow_cleanup()
    releaser = ActionCommand(
        name="releaser",
        help="Parse and publish the releases that are asked for, until stopped",
        func=lazy_load_command("airfleet_provider.releases.agent.run_command"),
        args=(),
    )
    scheduler = ActionCommand(
        name="scheduler",
        help="Be one of the schedulers of which one at a time is active",
        func=lazy_load_command("airfleet_provider.scheduler_ha.command.run_command"),
        args=(Arg(("--seat",), default=socket.gethostname(), help="The name of this scheduler; one process for each"),),
    )
    processor = ActionCommand(
        name="dag-processor",
        help="Start a Dag processor that runs callbacks and leaves parsing to the releaser",
        func=lazy_load_command("airfleet_provider.releases.reparse_requests.run_command"),
        args=list_processor_options(),
    )
    execution = ActionCommand(
        name="execution-api",
        help="Start an API server for tasks, with a short way for the calls that each task makes",
        func=lazy_load_command("airfleet_provider.execution_api.command.run_command"),
        args=list_options(),
    )
    admin = ActionCommand(
        name="admin",
        help="Make the administrator, or change its password where the file has another than last time",
        func=lazy_load_command("airfleet_provider.access.command.run_command"),
        args=(
            Arg(("--username",), default="admin", help="The name to log in with"),
            # In a file, as every user of the machine can read a command line.
            Arg(("--password-file",), required=True, help="The file that holds the password and nothing else"),
        ),
    )
    patches = ActionCommand(
        name="patches",
        help="List the patches of Airflow, and whether they fit the installed one",
        func=lazy_load_command("airfleet_provider.compat.patches.command.run_command"),
        args=(ARG_OUTPUT,),
    )
    commands = [admin, processor, execution, patches, releaser, scheduler]
    return [GroupCommand(name="airfleet", help="What airfleet adds to Airflow", subcommands=commands)]
