"""Reads what PostgreSQL's catalogues say: sizes, dead rows, connections, replication; and when backups were made."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from airfleet_provider.agent_loops.loop import Context
from airfleet_provider.contract import backup_folder, job_schema
from airfleet_provider.contract.statements import Statements
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.limits import LabelLimits, Labels

SQL = Statements(__package__, "database")

NAME = "database"
TABLES = (
    *("task_instance", "task_instance_history", "dag_run", "log", "xcom", "rendered_task_instance_fields"),
    *("serialized_dag", "dag_code", "dag_version", "asset_event", "job", "task_reschedule"),
)
JOBS = {
    job_schema.BACKUP: "airfleet_backup_timestamp_seconds",
    job_schema.RUN_ARCHIVE: "airfleet_archive_timestamp_seconds",
    job_schema.RUN_ARCHIVE_COMPLETE: "airfleet_archive_complete_timestamp_seconds",
}


class DatabaseLoop:
    """The loop that reads. Only the active process runs it."""

    def __init__(self, board: Board, limits: LabelLimits, backups: Path | None) -> None:
        """`backups` is the folder of the embedded server's backups; None where backups are noted in the database."""
        self._board = board
        self._limits = limits
        self._backups = backups

    def once(self, context: Context) -> None:
        """Read everything and publish it."""
        values: defaultdict[str, dict[Labels, float]] = defaultdict(dict)
        with context.read() as connection:
            [server] = connection.execute(SQL["server"]).fetchall()
            sessions = connection.execute(SQL["sessions"]).fetchall()
            tables = connection.execute(SQL["tables"], {"names": list(TABLES)}).fetchall()
            standbys = connection.execute(SQL["standbys"]).fetchall()
            [archiver] = connection.execute(SQL["archiver"]).fetchall()
            jobs = connection.execute(SQL["jobs"], {"names": list(JOBS)}).fetchall()
        values["airfleet_database_size_bytes"][()] = server["size"]
        values["airfleet_database_connections_max"][()] = server["max_connections"]
        values["airfleet_database_transaction_id_age"][()] = server["xid_age"]
        for state in ("active", "idle", "idle in transaction"):
            values["airfleet_database_connections"][state,] = 0.0
        for row in sessions:
            values["airfleet_database_connections"][row["state"],] = float(row["sessions"])
        oldest = max((row["oldest_s"] or 0.0 for row in sessions), default=0.0)
        values["airfleet_database_longest_transaction_seconds"][()] = max(0.0, oldest)
        values["airfleet_database_waiting_sessions"][()] = float(sum(row["waiting"] for row in sessions))
        for row in tables:
            for metric, column in (("size_bytes", "size"), ("rows", "rows"), ("dead_rows", "dead")):
                values[f"airfleet_table_{metric}"][row["name"],] = row[column]
        for row in standbys:
            values["airfleet_replication_lag_bytes"][row["name"],] = max(0.0, row["bytes"])
            # PostgreSQL knows no lag while nothing is written.
            values["airfleet_replication_lag_seconds"][row["name"],] = row["seconds"] or 0.0
        values["airfleet_wal_archive_failing"][()] = float(archiver["is_failing"])
        if archiver["archived"] is not None:
            values["airfleet_wal_archived_timestamp_seconds"][()] = archiver["archived"]
        for row in jobs:
            values[JOBS[row["name"]]][()] = row["ended"]
            if row["name"] == job_schema.RUN_ARCHIVE_COMPLETE:
                values["airfleet_archive_left_runs"][()] = float(row["fingerprint"])
        if self._backups and (newest := backup_folder.find_newest(self._backups)) is not None:
            values["airfleet_backup_timestamp_seconds"][()] = newest
        self._board.publish(NAME, {name: self._limits.fold(name, series) for name, series in values.items()})
