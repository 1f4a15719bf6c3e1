"""`airflow airfleet archive`: what `airfleet db archive` runs where the database can be reached."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airfleet_provider.compat.calls import config, metadata_db
from airfleet_provider.contract import job_schema, log_store_config, wording
from airfleet_provider.contract.archive_store import ArchiveStoreError
from airfleet_provider.contract.statements import Statements
from airfleet_provider.log_search import readers
from airfleet_provider.processes import command_line

if TYPE_CHECKING:
    from airfleet_provider.run_archive.task_logs import LogPlaces

PACKAGES = ("adbc_driver_postgresql", "duckdb", "pyarrow")
MISSING = (
    "airfleet: the archive needs the Python package {}, which is not installed beside Airflow\n\n"
    "hint: add pyarrow, duckdb and adbc-driver-postgresql to the requirements of the project"
)
# argparse gives 2 for a wrong usage; what is held by another process may be tried again.
FAILED = 1
SQL = Statements(__package__, "notes")


def run_command(arguments: argparse.Namespace) -> None:
    """Archive runs, once or again and again, or list, query or restore them.

    Raises:
        SystemExit: with a message, if a package is missing, the store or the database refuses, or another process
            holds the archive.
    """
    if arguments.action == "keep":
        # It sleeps most of the time, and has no need of the large packages of the process that it starts.
        _keep(arguments)
    try:
        from airfleet_provider.run_archive import agent, query, restore, store  # noqa: PLC0415 - they are optional
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] not in PACKAGES:
            raise
        raise SystemExit(MISSING.format(error.name)) from None
    from airfleet_provider.run_archive.tables import SchemaError  # noqa: PLC0415

    try:
        match arguments.action:
            case "run":
                _archive(arguments, agent)
            case "list":
                _list(arguments, query, store)
            case "query":
                _query(arguments, query)
            case _:
                _restore(arguments, restore, _find_database(agent))
    except (agent.ArchiveBusyError, query.QueryError, ArchiveStoreError, SchemaError, ValueError) as error:
        raise SystemExit(f"airfleet: {error}") from None


def _archive(arguments: argparse.Namespace, agent: Any) -> None:  # noqa: ANN401 - a module
    before = command_line.read_moment(arguments.before)
    database = _find_database(agent)
    if arguments.dry_run:
        groups = agent.preview(database, arguments.store, before, arguments.dag)
        if arguments.json:
            command_line.print_json({"before": before.isoformat(), "groups": [asdict(one) for one in groups]})
            return
        command_line.print_table(
            [("month", "runs", "Dag"), *((one.month, str(one.runs), one.dag_id) for one in groups)]
        )
        runs = wording.count(sum(one.runs for one in groups), "finished run")
        command_line.say(f"would archive {runs} from before {before:%Y-%m-%d %H:%M} UTC")
        return
    totals = agent.archive(
        database,
        arguments.store,
        before,
        dag_id=arguments.dag,
        budget_s=arguments.budget,
        pause=arguments.pause,
        logs=_find_logs(),
        report=command_line.say,
    )
    note_end(arguments.dag, left=totals.left if arguments.by_timetable else None)
    renew_catalogue(arguments.store)
    if arguments.json:
        command_line.print_json({"before": before.isoformat(), **asdict(totals)})
    else:
        print(
            f"archived {wording.count(totals.runs, 'run')} with"
            f" {wording.count(totals.task_instances, 'task instance')}: {wording.count(totals.rows, 'row')},"
            f" {wording.count(totals.logs, 'log')}, {totals.bytes / 2**20:.1f} MiB"
        )
    if totals.changed or totals.busy:
        changed = wording.count(totals.changed, "run")
        command_line.say(f"left for the next time: {changed} that changed meanwhile, {totals.busy} that were locked")
    if totals.is_stopped:
        runs = wording.count(totals.left, "run")
        command_line.say(f"the budget is over, and {runs} may be left; the next call continues")


def _find_logs() -> LogPlaces:
    from airfleet_provider.run_archive.task_logs import LogPlaces  # noqa: PLC0415 - it needs pyarrow

    return LogPlaces(
        Path(config.read_setting("logging", "base_log_folder")),
        readers.open_reader,
        has_hosts=bool(config.read_setting("airfleet", log_store_config.STORES)),
    )


def note_end(dag_id: str | None, *, left: int | None = None) -> None:
    """Record that old runs were archived now, which the timetable and alerts go by; not after those of one Dag.

    `left` is the number of runs for which an archive by the timetable had no time. An archive that a person asks for
    has a limit of its own, so what it leaves says nothing of the timetable.
    """
    if dag_id is not None:
        return
    with closing(metadata_db.connect()) as connection, connection.cursor() as cursor:
        if left is not None:
            # First: if this process is killed between the two, the timetable begins another archive soon.
            cursor.execute(SQL["left"], {"name": job_schema.RUN_ARCHIVE_COMPLETE, "left": str(left)})
        cursor.execute(SQL["end"], {"name": job_schema.RUN_ARCHIVE})


def renew_catalogue(location: str) -> None:
    """Let the Fleet pages find what is in the archive now. What fails here is done by the next archive."""
    from airfleet_provider.run_archive import catalogue, store  # noqa: PLC0415 - the process that only waits needs neither

    with closing(metadata_db.connect()) as connection, connection.cursor() as cursor:

        def execute(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
            cursor.execute(statement, values)
            return list(cursor.fetchall()) if cursor.description else []

        try:
            catalogue.renew(execute, store.RunStore(location))
        except (ArchiveStoreError, ValueError) as error:
            command_line.say(f"the Fleet pages do not show the new batches yet: {error}")


def _keep(arguments: argparse.Namespace) -> NoReturn:
    from airfleet_provider.run_archive import keeper  # noqa: PLC0415 - the other actions need none of it

    words = ("--store", arguments.store, "--budget", str(arguments.budget), "--pause", str(arguments.pause))
    plan = keeper.Plan(timedelta(hours=arguments.every_hours), timedelta(days=arguments.retention), words)
    keeper.run(plan)


def _list(arguments: argparse.Namespace, query: Any, store: Any) -> None:  # noqa: ANN401 - modules
    since, until = (text and command_line.read_moment(text) for text in (arguments.since, arguments.until))
    found = [
        one
        for one in query.read_manifests(store.RunStore(arguments.store))
        if arguments.dag in (None, one.dag_id)
        and any((not since or since <= run.run_after) and (not until or run.run_after < until) for run in one.runs)
    ]
    batches = [
        {
            "batch": one.batch,
            "dag_id": one.dag_id,
            "month": one.month,
            "created_at": one.created_at.isoformat(),
            "runs": len(one.runs),
            "task_instances": one.task_instances,
            "rows": one.rows,
            "bytes": one.bytes,
            "logs": one.logs.number,
            "log_files": [asdict(file) for file in one.logs.parts],
            "files": {table: asdict(file) for table, file in one.files.items()},
        }
        for one in found
    ]
    if arguments.json:
        command_line.print_json(batches)
        return
    lines = [
        (
            *(str(one[key]) for key in ("month", "runs", "task_instances", "rows", "logs")),
            str(one["bytes"] // 1024),
            one["dag_id"],
        )
        for one in batches
    ]
    if not lines:
        command_line.say("the archive has no such run" if arguments.dag or since or until else "the archive is empty")
        return
    command_line.print_table([("month", "runs", "tasks", "rows", "logs", "KiB", "Dag"), *lines])


def _query(arguments: argparse.Namespace, query: Any) -> None:  # noqa: ANN401 - a module
    sql = sys.stdin.read() if arguments.sql == "-" else arguments.sql
    if not sql:
        raise ValueError("no SQL was given")
    answer = query.query(arguments.store, sql)
    if arguments.json:
        command_line.print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
    else:
        lines = [tuple("" if one is None else str(one) for one in row) for row in answer.rows]
        command_line.print_table([answer.columns, *lines])


def _find_database(agent: Any) -> Any:  # noqa: ANN401 - a module, and its class
    return agent.ArchivedDatabase(lambda: metadata_db.connect("airfleet archive"), metadata_db.read_conninfo())


def _restore(arguments: argparse.Namespace, restore: Any, database: Any) -> None:  # noqa: ANN401 - as above
    if not (arguments.dag and arguments.since and arguments.until):
        raise ValueError("a restore needs --dag, --from and --to")
    done = restore.restore(
        database,
        arguments.store,
        dag_id=arguments.dag,
        since=command_line.read_moment(arguments.since),
        until=command_line.read_moment(arguments.until),
        now=datetime.now(UTC),
        hold=timedelta(days=arguments.keep_days),
        logs=_find_logs(),
        report=command_line.say,
    )
    if arguments.json:
        command_line.print_json(asdict(done))
    else:
        print(
            f"restored {wording.count(done.runs, 'run')} with {wording.count(done.rows, 'row')} and"
            f" {wording.count(done.logs, 'log')};"
            f" exactly as archived: {done.identical}, in the database already: {done.present}"
        )
    if done.omitted:
        command_line.say(
            f"left in the archive, because what they refer to is gone: {wording.count(done.omitted, 'row')}"
        )
