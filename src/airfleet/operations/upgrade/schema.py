"""Where the metadata database's schema stands, where a version of Airflow wants it, and the way back, as scripts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SQL = "runuser -u postgres -- psql -XAtq -h /run/postgresql airflow -c "
# The table that keeps the revision, where the package keeps its migrations, and the command that goes back.
CHAINS = {
    "alembic_version": ("airflow/migrations", ("db", "downgrade")),
    "alembic_version_fab": ("airflow/providers/fab/migrations", ("fab-db", "downgrade")),
}


@dataclass(frozen=True, slots=True)
class Revision:
    """One chain of migrations, and a place in it."""

    table: str
    name: str


def ask_current() -> str:
    """A script for the primary: where the schema stands."""
    queries = " UNION ALL ".join(f"SELECT '{table} ' || version_num FROM {table}" for table in CHAINS)  # noqa: S608 - its own
    return SQL + shlex.quote(queries)


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
