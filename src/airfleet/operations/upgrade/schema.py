"""Scripts that read the revision of the metadata database's schema and the one that Airflow needs, and downgrades."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airfleet.components.postgresql.server import ASK_AIRFLOW

# For each table with a revision: the folder of the migrations in the package, and the command that downgrades.
CHAINS = {
    "alembic_version": ("airflow/migrations", ("db", "downgrade")),
    "alembic_version_fab": ("airflow/providers/fab/migrations", ("fab-db", "downgrade")),
}


# The tables that Airflow needs. A test compares this list with Airflow's models.
TABLES = (
    *("connection", "variable", "slot_pool", "job", "trigger", "callback", "log", "import_error", "xcom"),
    *("dag", "dag_bundle", "dag_code", "dag_run", "dag_schedule_asset_reference", "dag_tag", "dag_version"),
    *("serialized_dag", "backfill", "deadline", "asset", "asset_event", "asset_dag_run_queue", "task_reschedule"),
    *("task_instance", "task_instance_history", "rendered_task_instance_fields", "ab_user", "ab_role"),
)


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision in one chain of migrations. `table` identifies the chain."""

    table: str
    name: str


def ask_current(ask: str = ASK_AIRFLOW) -> str:
    """Return a script for the primary that prints the revisions of the schema. `ask` is its way to ask."""
    queries = " UNION ALL ".join(f"SELECT '{table} ' || version_num FROM {table}" for table in CHAINS)  # noqa: S608 - its own
    return f"{ask} -c {shlex.quote(queries)}"


def ask_missing(ask: str = ASK_AIRFLOW) -> str:
    """Return a script for the primary that prints the tables of Airflow that are missing."""
    names = ", ".join(f"'{name}'" for name in (*TABLES, *CHAINS))
    query = f"SELECT name FROM unnest(ARRAY[{names}]) AS name WHERE to_regclass(name) IS NULL"  # noqa: S608 - its own
    return f"{ask} -c {shlex.quote(query)}"


def explain(missing: Iterable[str], current: Iterable[Revision], wanted: Iterable[Revision]) -> str:
    """Describe what is wrong with the schema, or return "" if it matches the version of Airflow."""
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
    """Return a script that prints the revisions that the packages in `runtime` need. Only Alembic can read them."""
    code = (
        "import sysconfig\n"
        "from alembic.script import ScriptDirectory\n"
        "root = sysconfig.get_path('purelib')\n"
        f"for table, folder in {[(table, folder) for table, (folder, _) in CHAINS.items()]!r}:\n"
        "    for head in ScriptDirectory(f'{root}/{folder}').get_heads(): print(table, head)\n"
    )
    return f"{runtime}/bin/python -c {shlex.quote(code)}"


def parse(text: str) -> frozenset[Revision]:
    """Return the revisions in the output of a script."""
    lines = (line.split() for line in text.splitlines())
    return frozenset(Revision(*words) for words in lines if len(words) == 2 and words[0] in CHAINS)


def list_downgrades(current: Iterable[Revision], wanted: Iterable[Revision]) -> tuple[tuple[str, ...], ...]:
    """Return the commands of the newer Airflow that downgrade the schema to the revisions of the older one."""
    there = frozenset(current)
    return tuple(
        (*CHAINS[one.table][1], "--to-revision", one.name, "--yes")
        for one in sorted(wanted, key=lambda one: one.table)
        if one not in there
    )
