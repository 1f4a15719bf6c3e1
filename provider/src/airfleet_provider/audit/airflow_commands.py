"""Airflow's command line: each command that changes something has a row in the audit log before it runs."""

from __future__ import annotations

import functools
import itertools
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from airfleet_provider.compat.calls import config, metadata_db
from airfleet_provider.contract import audit_store
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome, AuditSource

# The functions of commands that only read, or that run a component. Every other command that Airflow logs is recorded.
READS = frozenset(
    {
        *("api_server", "dag_processor", "flower", "kerberos", "scheduler", "triggerer", "worker"),
        *("asset_details", "asset_list", "check", "dag_next_execution", "dag_report", "dag_state", "export_archived"),
        *("dag_details", "dag_list_dag_runs", "dag_list_dags", "dag_list_jobs", "task_states_for_dag_run"),
        *("list_workers", "task_failed_deps", "task_list", "task_render", "task_state", "team_list"),
    }
)
# What of a command is shown: `airflow variables set NAME`. Whatever follows may be a secret.
SHOWN_WORDS = 4


@functools.cache
def register(connect: Callable[[], Any] = metadata_db.connect) -> None:
    """Let Airflow's command line record the commands of this process, once."""
    from airflow.utils import cli_action_loggers  # noqa: PLC0415 - it costs what only a command needs

    cli_action_loggers.register_pre_exec_callback(functools.partial(record, connect))


def record(connect: Callable[[], Any], sub_command: str, user: str = "", host_name: str = "", **_: object) -> None:
    """Record a command before Airflow runs it.

    Raises:
        SystemExit: The audit log does not answer, so the command must not run.
    """
    if sub_command in READS or not has_database():
        return
    entry = make_entry(sub_command, user, host_name, sys.argv)
    try:
        with closing(connect()) as connection, connection.cursor() as cursor:
            audit_store.record(cursor.execute, entry)
    except Exception as error:
        if is_missing_table(error):
            return  # before the first migration there is nothing to govern
        # Airflow goes on after an error of this function, but not after this one.
        print(f"airfleet: the command was not run, as the audit log cannot be written: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def make_entry(name: str, user: str, host: str, argv: Sequence[str]) -> AuditEntry:
    """Return the entry of a command. It has the first words and the names of the options, and no value of an option."""
    given = list(itertools.takewhile(lambda one: one != "--", argv[1:]))
    shown = [one for one in given[: SHOWN_WORDS - 1] if not one.startswith("-")]
    # The value of a short option may follow its letter at once.
    names = [one.partition("=")[0] if one.startswith("--") else one[:2] for one in given if one.startswith("-")]
    return AuditEntry(
        id=str(uuid.uuid4()),
        source=AuditSource.AIRFLOW,
        actor=user,
        address=host,
        action=f"airflow {name}",
        outcome=AuditOutcome.BEGUN,
        detail={"words": shown, "options": names},
    )


def has_database() -> bool:
    """Return whether this process has the login of the metadata database. Those of worker hosts do not."""
    return config.read_setting("database", "sql_alchemy_conn").startswith("postgresql")


def is_missing_table(error: Exception) -> bool:
    """Return whether airfleet's tables are not there yet."""
    return getattr(error, "pgcode", None) in ("42P01", "3F000")
