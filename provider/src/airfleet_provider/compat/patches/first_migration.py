"""The first `airflow db migrate` of a database writes no row into the table of actions, which is not there yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Contains, Versions

# The function of the command.
MIGRATE = "migratedb"
HAS_LOG = "SELECT to_regclass('log') IS NOT NULL"


def record_no_first_migration() -> None:
    """Let Airflow record `db migrate` only in a database that has the table for it.

    Airflow tries, and overlooks the error. But PostgreSQL logs it, and then it is the first error of a new platform.
    """
    apply(PATCH)


def _make(original: Callable[..., None]) -> Sequence[Any]:
    def on_pre_execution(**metrics: Any) -> None:  # noqa: ANN401 - what Airflow knows of the command
        if metrics.get("sub_command") != MIGRATE or _has_log():
            original(**metrics)

    return (on_pre_execution,)


def _has_log() -> bool:
    from psycopg2 import Error  # noqa: PLC0415 - Airflow's driver

    try:
        with closing(metadata_db.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(HAS_LOG)
            return bool(cursor.fetchone()[0])
    except Error:
        return True  # then Airflow's own way says what is wrong


_LOGGERS = "airflow.utils.cli_action_loggers"
PATCH = Patch(
    name="first-migration",
    targets=(f"{_LOGGERS}:on_pre_execution",),
    requires=(
        Versions(("3.3.",)),
        Contains(f"{_LOGGERS}:default_action_log", ("sub_command", '"log" does not exist')),
        Contains("airflow.utils.cli:action_cli", ("_build_metrics(f.__name__", "cli_action_loggers.on_pre_execution(")),
    ),
    assumes=(Contains("airflow.cli.commands.db_command:migratedb", ("def migratedb(",)),),
    make=_make,
    without='the first start of a platform leaves the error `relation "log" does not exist` in the log of PostgreSQL',
    processes="the image of one machine and every `airflow db migrate`",
)
