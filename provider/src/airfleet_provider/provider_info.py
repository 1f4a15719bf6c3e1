"""The description of this provider for Airflow, and the commands it adds; must be cheap to import."""

from __future__ import annotations

import socket
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand


def get_provider_info() -> dict[str, Any]:
    """Return the description of the provider in the form of Airflow's providers manager."""
    return {
        "package-name": "airfleet-provider",
        "name": "airfleet",
        "description": "Releases, fast task starts and operations for Airflow on plain machines.",
        "cli": ["airfleet_provider.provider_info.list_commands"],
    }


def list_commands() -> list[CLICommand]:
    """Return the commands of `airflow airfleet`; each imports its code when it runs.

    Airflow calls this function before it runs any command. So this function also narrows `airflow db clean`, lets
    `airflow tasks` write no Dags, `airflow dags show` name what it lacks, and Airflow record its commands in the audit
    log, and does for servers that no image has forked what an image does.
    """
    from airflow.cli.cli_config import (  # noqa: PLC0415
        ARG_OUTPUT,
        ActionCommand,
        Arg,
        GroupCommand,
        lazy_load_command,
    )

    from airfleet_provider.access import outside_tasks  # noqa: PLC0415
    from airfleet_provider.audit import airflow_commands  # noqa: PLC0415
    from airfleet_provider.compat.calls import celery_processes  # noqa: PLC0415
    from airfleet_provider.compat.calls.execution_api import list_options  # noqa: PLC0415
    from airfleet_provider.compat.patches import deferred_routes  # noqa: PLC0415
    from airfleet_provider.compat.patches.dag_lookup import look_up_stored_dags  # noqa: PLC0415
    from airfleet_provider.compat.patches.dag_processor import list_processor_options  # noqa: PLC0415
    from airfleet_provider.compat.patches.db_clean import narrow_cleanup  # noqa: PLC0415
    from airfleet_provider.compat.patches.first_migration import record_no_first_migration  # noqa: PLC0415
    from airfleet_provider.compat.patches.graph_drawing import name_missing_graphviz  # noqa: PLC0415
    from airfleet_provider.processes import heap  # noqa: PLC0415

    # Airflow warns of it at every command about Dags. The commands that draw say it too.
    warnings.filterwarnings("ignore", "Could not import graphviz", UserWarning)
    match sys.argv[1:3]:
        case ["db", "clean"]:
            narrow_cleanup()
        case ["db", "migrate"]:
            record_no_first_migration()
        case ["dags", "show" | "show-dependencies"]:
            name_missing_graphviz()
        case ["tasks", *_]:
            look_up_stored_dags()
        case ["api-server", *_] | ["airfleet", "execution-api"]:
            deferred_routes.defer_routes()
            heap.skip_last_collection()
        case ["celery", "worker"]:
            celery_processes.import_commands()
    airflow_commands.register()
    outside_tasks.register()
    releaser = ActionCommand(
        name="releaser",
        help="Parse and publish the requested releases, until stopped",
        func=lazy_load_command("airfleet_provider.releases.agent.run_command"),
        args=(),
    )
    scheduler = ActionCommand(
        name="scheduler",
        help="Start a scheduler that is active or stands by; one scheduler is active at a time",
        func=lazy_load_command("airfleet_provider.scheduler_ha.command.run_command"),
        args=(Arg(("--seat",), default=socket.gethostname(), help="The unique name of this scheduler"),),
    )
    processor = ActionCommand(
        name="dag-processor",
        help="Start a Dag processor that runs callbacks and leaves parsing to the releaser",
        func=lazy_load_command("airfleet_provider.releases.reparse_requests.run_command"),
        args=list_processor_options(),
    )
    execution = ActionCommand(
        name="execution-api",
        help="Start an API server for tasks, with a fast path for the most frequent calls",
        func=lazy_load_command("airfleet_provider.execution_api.command.run_command"),
        args=list_options(),
    )
    admin = ActionCommand(
        name="admin",
        help="Create the administrator, or change the password if the file has changed",
        func=lazy_load_command("airfleet_provider.access.command.run_command"),
        args=(
            Arg(("--username",), default="admin", help="The name to log in with"),
            # A file, because every user of the machine can read command lines.
            Arg(("--password-file",), required=True, help="The file that holds the password and nothing else"),
            Arg(("--no-directory",), action="store_true", help="End the users of directories: fleet.yaml has none"),
        ),
    )
    access = ActionCommand(
        name="access",
        help="Make users, roles and rules as fleet.yaml says",
        func=lazy_load_command("airfleet_provider.access.apply.run_command"),
        args=(
            # A file, because every user of the machine can read command lines.
            Arg(("--file",), help="The file that holds what fleet.yaml says, with passwords; - is the standard input"),
            Arg(("--text",), help="What fleet.yaml says, without passwords: they stay as they are"),
        ),
    )
    token = ActionCommand(
        name="access-token",
        help="Keep the hash of a service account's token, or end one",
        func=lazy_load_command("airfleet_provider.access.service_accounts.run_command"),
        args=(
            Arg(("action",), choices=("create", "revoke"), help="What to do"),
            Arg(("--name",), required=True, help="The name of the service account"),
            Arg(("--role",), action="append", default=[], help="A role; may repeat"),
            Arg(("--id",), default="", help="The public part of the token"),
            Arg(("--hash",), default="", help="The SHA-256 of the token, which nobody here ever has"),
            Arg(("--seconds",), type=int, default=0, help="Seconds until the token ends"),
        ),
    )
    migrate = ActionCommand(
        name="migrate",
        help="Apply the migrations of airfleet's own tables that the database lacks",
        func=lazy_load_command("airfleet_provider.migrate.run_command"),
        args=(Arg(("--post",), action="store_true", help="Those that wait until no process of an older version runs"),),
    )
    patches = ActionCommand(
        name="patches",
        help="List the patches of Airflow, and whether they fit the installed one",
        func=lazy_load_command("airfleet_provider.compat.patches.command.run_command"),
        args=(ARG_OUTPUT,),
    )
    archive = ActionCommand(
        name="archive",
        help="Archive finished runs as Parquet files; list, query and restore them",
        func=lazy_load_command("airfleet_provider.run_archive.command.run_command"),
        args=(
            Arg(("action",), choices=("run", "keep", "list", "query", "restore"), help="What to do"),
            Arg(("--store",), required=True, help="A folder, or a URL that fsspec knows"),
            Arg(("--before",), help="Archive runs that ended before this moment"),
            Arg(("--dag",), help="The id of the one Dag to look at"),
            Arg(("--budget",), type=float, help="Seconds after which no new batch is begun"),
            Arg(("--pause",), type=float, default=0.0, help="Rest after a transaction, as a multiple of its time"),
            Arg(("--dry-run",), action="store_true", help="Only show what would be archived"),
            Arg(("--by-timetable",), action="store_true", help="Note how many runs are left for the next archive"),
            Arg(("--retention",), type=float, default=90.0, help="`keep`: days that a finished run stays"),
            Arg(("--every-hours",), type=float, default=24.0, help="`keep`: hours between two archives"),
            Arg(("--sql",), default="", help="A query; `-` is standard input"),
            Arg(("--from",), dest="since", help="Restore, or list batches with, runs from this moment on"),
            Arg(("--to",), dest="until", help="Restore, or list batches with, runs before this moment"),
            Arg(("--keep-days",), type=float, default=7.0, help="Days until restored runs may be archived again"),
            Arg(("--json",), action="store_true", help="Print JSON on stdout"),
        ),
    )
    care = ActionCommand(
        name="care",
        help="Tune and repair the metadata database while it is in use",
        func=lazy_load_command("airfleet_provider.database_care.command.run_command"),
        args=(
            Arg(
                ("action",),
                choices=("run", "plan", "give-back", "take-again", "add-indexes"),
                help="What to do; before a migration of Airflow `give-back`, after it `take-again` and `add-indexes`",
            ),
            Arg(("--json",), action="store_true", help="Print JSON on stdout"),
        ),
    )
    sla = ActionCommand(
        name="sla",
        help="Show the promises of fleet.yaml: those that are open, and how often they were kept",
        func=lazy_load_command("airfleet_provider.slas.command.run_command"),
        args=(
            Arg(("action",), choices=("list", "report", "show"), help="What to show"),
            Arg(("--rule",), help="Only the promises of this rule"),
            Arg(("--dag",), help="Only promises about the Dag with this id"),
            Arg(("--in",), dest="state", help="Only instances in this state"),
            Arg(("--all",), action="store_true", help="Also instances that ended in the last day"),
            Arg(("--since",), help="Report from this moment on"),
            Arg(("--until",), help="Report before this moment"),
            Arg(("--most",), type=int, default=20, help="Show so many instances of a rule"),
            Arg(("--format",), choices=("text", "json", "csv"), default="text", help="The form of the output"),
        ),
    )
    logs = ActionCommand(
        name="logs",
        help="Search the index of logs, or show errors by signature",
        func=lazy_load_command("airfleet_provider.log_search.command.run_command"),
        args=(
            Arg(("action",), choices=("search", "errors"), help="What to show"),
            Arg(("--text",), help="Words that must be in a line; quotes around several keep them together"),
            Arg(("--dag",), help="Only lines of the Dag with this id"),
            Arg(("--task",), help="Only lines of the task with this id"),
            Arg(("--run",), help="Only lines of the run with this id"),
            Arg(("--host",), help="Only lines of this host"),
            Arg(("--component",), help="Only lines of this component; `task` means all tasks"),
            Arg(("--level",), choices=("debug", "info", "warning", "error", "critical"), help="This level and above"),
            Arg(("--try",), dest="try_number", type=int, help="Only lines of this try"),
            Arg(("--map-index",), type=int, help="Only lines of this mapped task"),
            Arg(("--since",), help="From this moment on, or from `2h` ago on"),
            Arg(("--until",), help="Before this moment, or before `2h` ago"),
            Arg(("--most",), type=int, default=100, help="Show so many"),
            Arg(("--follow",), action="store_true", help="Go on with new lines"),
            Arg(("--json",), action="store_true", help="Print JSON on stdout"),
        ),
    )
    dag_test = ActionCommand(
        name="dag-test",
        help="Run one Dag once, in a database of its own; `airfleet dag test` calls it",
        func=lazy_load_command("airfleet_provider.dag_tests.run_command"),
        args=(),
    )
    commands = [
        access,
        admin,
        archive,
        care,
        dag_test,
        processor,
        execution,
        logs,
        migrate,
        patches,
        releaser,
        scheduler,
        sla,
        token,
    ]
    return [GroupCommand(name="airfleet", help="What airfleet adds to Airflow", subcommands=commands)]
