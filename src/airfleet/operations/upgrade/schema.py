"""Where the metadata database's schema stands, where a version of Airflow wants it, and the way back, as scripts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airfleet.components.postgresql.server import ASK_AIRFLOW

# The table that keeps the revision, where the package keeps its migrations, and the command that goes back.
CHAINS = {
    "alembic_version": ("airflow/migrations", ("db", "downgrade")),
    "alembic_version_fab": ("airflow/providers/fab/migrations", ("fab-db", "downgrade")),
}


# Tables without which Airflow does not work; a test compares them with Airflow's own.
TABLES = (
    *("connection", "variable", "slot_pool", "job", "trigger", "callback", "log", "import_error", "xcom"),
    *("dag", "dag_bundle", "dag_code", "dag_run", "dag_schedule_asset_reference", "dag_tag", "dag_version"),
    *("serialized_dag", "backfill", "deadline", "asset", "asset_event", "asset_dag_run_queue", "task_reschedule"),
    *("task_instance", "task_instance_history", "rendered_task_instance_fields", "ab_user", "ab_role"),
)


@dataclass(frozen=True, slots=True)
class Revision:
    """One chain of migrations, and a place in it."""

    table: str
    name: str


def ask_current() -> str:
    """A script for the primary: where the schema stands."""
    queries = " UNION ALL ".join(f"SELECT '{table} ' || version_num FROM {table}" for table in CHAINS)  # noqa: S608 - its own
    return f"{ASK_AIRFLOW} -c {shlex.quote(queries)}"


def ask_missing() -> str:
    """A script for the primary: which of Airflow's tables are not there."""
    names = ", ".join(f"'{name}'" for name in (*TABLES, *CHAINS))
    query = f"SELECT name FROM unnest(ARRAY[{names}]) AS name WHERE to_regclass(name) IS NULL"  # noqa: S608 - its own
    return f"{ASK_AIRFLOW} -c {shlex.quote(query)}"


def explain(missing: Iterable[str], current: Iterable[Revision], wanted: Iterable[Revision]) -> str:
    """What is wrong with the schema; nothing when all is there and where the version of Airflow wants it."""
    if names := sorted(missing):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"tables are missing: {', '.join(names[:3])}{more}"
    there, where = frozenset(current), frozenset(wanted)
    if there == where:
        return ""
    return "it is at {}, and Airflow needs {}".format(
        *(", ".join(sorted(one.name for one in chain)) or "nothing" for chain in (there - where, where - there))
    )


def ask_wanted(runtime: Path) -> str:
    """A script for a host with the packages of a version: where it wants the schema; Alembic alone reads that."""
    code = (
        "import sysconfig\n"
        "from alembic.script import ScriptDirectory\n"
        "root = sysconfig.get_path('purelib')\n"
        f"for table, folder in {[(table, folder) for table, (folder, _) in CHAINS.items()]!r}:\n"
        "    for head in ScriptDirectory(f'{root}/{folder}').get_heads(): print(table, head)\n"
    )
    return f"{runtime}/bin/python -c {shlex.quote(code)}"


def parse(text: str) -> frozenset[Revision]:
    """Revisions, from what a host said."""
    lines = (line.split() for line in text.splitlines())
    return frozenset(Revision(*words) for words in lines if len(words) == 2 and words[0] in CHAINS)


def list_downgrades(current: Iterable[Revision], wanted: Iterable[Revision]) -> tuple[tuple[str, ...], ...]:
    """The commands of the newer Airflow that take the schema back to where the older one wants it."""
    there = frozenset(current)
    return tuple(
        (*CHAINS[one.table][1], "--to-revision", one.name, "--yes")
        for one in sorted(wanted, key=lambda one: one.table)
        if one not in there
    )
