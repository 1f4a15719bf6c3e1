"""Apply the migrations that a database lacks (ADR 35): each once, in one transaction, under the lock of the schema."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Any

from airfleet_provider.contract.locks import SCHEMA_LOCK

FILE_NAME = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.(?P<kind>pre|post)\.sql")

LOCK = f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"
# `to_regclass` would answer from the session's cache, and miss a table that was made while this process waited for the
# lock.
HAS_TABLE = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'airfleet' AND c.relname = 'migration'
)
"""
READ = "SELECT number, name, kind, digest FROM airfleet.migration ORDER BY number"
# With this search path, a migration calls no function that the owner of `public` could have planted there. It must
# write every name that it creates with its schema.
PREPARE = """
SET LOCAL search_path = pg_catalog;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS airfleet;
CREATE TABLE IF NOT EXISTS airfleet.migration (
    number int PRIMARY KEY,
    name text NOT NULL,
    kind text NOT NULL,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

# A function that executes SQL without parameters on a session in autocommit mode, and returns the last rows.
Execute = Callable[[str], Sequence[Sequence[Any]]]


# What a database and a version of airfleet that do not fit together are told; `{}` names the migration.
NEWER = (
    "a newer version of airfleet has changed this database by {}, which removed what this version may need:"
    " use the newer version, or restore a backup from before the upgrade"
)
OTHER = (
    "the migration {} is not the one that this database was changed by ({}):"
    " install airfleet again, as its files were changed"
)


class MigrationError(RuntimeError):
    """The database and this version of airfleet do not fit together; the message says why and what to do."""


class MigratedDatabase(StrEnum):
    """The databases that have migrations."""

    # Airflow's own. The role `airflow` owns airfleet's tables there.
    METADATA = "metadata"
    # The results of tasks. A superuser owns the table, as neither workers nor schedulers may.
    RESULTS = "results"


class MigrationKind(StrEnum):
    """The time at which a migration is applied."""

    # Before new code runs. It only adds, so that code of the earlier version continues to work.
    PRE = "pre"
    # After the last process of the earlier version has ended. It removes what only that version used.
    POST = "post"


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration: a file of SQL."""

    number: int
    name: str
    kind: MigrationKind
    sql: str

    @property
    def title(self) -> str:
        return f"{self.number:04}_{self.name}.{self.kind}"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """A row of `airfleet.migration`."""

    number: int
    name: str
    kind: str
    digest: str

    @property
    def title(self) -> str:
        return f"{self.number:04}_{self.name}.{self.kind}"


def read_own(database: MigratedDatabase = MigratedDatabase.METADATA) -> tuple[Migration, ...]:
    """Return the migrations of this version of airfleet for one database."""
    package = resources.files("airfleet_provider.contract.migrations") / database
    return parse({one.name: one.read_text("utf-8") for one in package.iterdir() if one.name.endswith(".sql")})


def parse(files: Mapping[str, str]) -> tuple[Migration, ...]:
    """Return the migrations of files in the order of their numbers. `files` maps file names to SQL.

    Raises:
        ValueError: A file name is wrong, or two migrations have the same number.
    """
    found: dict[int, Migration] = {}
    for file_name, sql in files.items():
        matched = FILE_NAME.fullmatch(file_name)
        if matched is None:
            raise ValueError(f"{file_name}: a migration is called NNNN_name.pre.sql or NNNN_name.post.sql")
        one = Migration(int(matched["number"]), matched["name"], MigrationKind(matched["kind"]), sql)
        if other := found.get(one.number):
            raise ValueError(f"two migrations have one number: {other.title} and {one.title}")
        found[one.number] = one
    return tuple(found[number] for number in sorted(found))


def compute_digest(migrations: Iterable[Migration]) -> str:
    """Return a digest that changes with every new migration."""
    return hashlib.sha256("\n".join(f"{one.title} {one.digest}" for one in migrations).encode()).hexdigest()


def migrate(
    execute: Execute, migrations: Sequence[Migration], *, kinds: Sequence[MigrationKind] = (MigrationKind.PRE,)
) -> tuple[Migration, ...]:
    """Apply the migrations of these kinds that the database lacks, and return those that this call applied.

    All migrations of the first kind come before those of the next, each kind in the order of its numbers. The owner of
    the schema may call this at any time, also from several processes at once. If nothing is missing, it only reads.

    Raises:
        MigrationError: The database has a migration with another content, or an unknown one of kind `post`: a newer
            version has removed what this version may need. Nothing was changed.
    """
    ordered = [one for kind in kinds for one in migrations if one.kind == kind]
    if not find_missing(_read_applied(execute), migrations, ordered):
        return ()
    return tuple(one for one in ordered if _apply(execute, one, migrations))


def find_missing(
    applied: Sequence[Applied], migrations: Sequence[Migration], ordered: Sequence[Migration]
) -> tuple[Migration, ...]:
    """Return the migrations of `ordered` that are not applied.

    Raises:
        MigrationError: As in `migrate`.
    """
    known = {one.number: one for one in migrations}
    for row in applied:
        one = known.get(row.number)
        if one is None and row.kind != MigrationKind.PRE:
            raise MigrationError(NEWER.format(row.title))
        if one is not None and (one.title, one.digest) != (row.title, row.digest):
            raise MigrationError(
                OTHER.format(one.title, f"{row.title}, digest {row.digest[:12]}, here {one.digest[:12]}")
            )
    numbers = {row.number for row in applied}
    return tuple(one for one in ordered if one.number not in numbers)


def _read_applied(execute: Execute) -> tuple[Applied, ...]:
    if not execute(HAS_TABLE)[0][0]:
        return ()
    return tuple(Applied(*row) for row in execute(READ))


def _apply(execute: Execute, one: Migration, migrations: Sequence[Migration]) -> bool:
    """Apply one migration unless another process was faster, and return whether this call applied it."""
    execute("BEGIN")
    try:
        # Other processes wait here until this transaction has ended, also those of versions without migrations.
        execute(LOCK)
        is_missing = bool(find_missing(_read_applied(execute), migrations, (one,)))
        if is_missing:
            execute(PREPARE)
            execute(one.sql)
            execute(_note(one))
        execute("COMMIT")
    except BaseException:
        with suppress(Exception):  # a session that was lost has rolled back
            execute("ROLLBACK")
        raise
    return is_missing


def _note(one: Migration) -> str:
    return (
        "INSERT INTO airfleet.migration (number, name, kind, digest)"  # noqa: S608 - checked by FILE_NAME
        f" VALUES ({one.number}, '{one.name}', '{one.kind}', '{one.digest}')"
    )


def render_script(migrations: Sequence[Migration], *, kinds: Sequence[MigrationKind] = (MigrationKind.PRE,)) -> str:
    """Return one statement that does what `migrate` does, for hosts that have psql and no Python packages.

    It applies all that is missing in one transaction. If the database and this version do not fit together, it fails
    with the message of `MigrationError` and changes nothing.
    """
    numbers = ", ".join(str(one.number) for one in migrations)
    own = ", ".join(f"({one.number}, '{one.title}', '{one.digest}')" for one in migrations)
    title = "format('%s_%s.%s', to_char(number, 'FM0000'), name, kind)"
    lines = [
        "DO $airfleet$",
        "DECLARE wrong text;",
        "BEGIN",
        f"PERFORM pg_advisory_xact_lock({SCHEMA_LOCK});",
        PREPARE,
        f"SELECT {title} INTO wrong FROM airfleet.migration"  # noqa: S608 - checked by FILE_NAME
        f" WHERE kind <> '{MigrationKind.PRE}' AND number <> ALL (ARRAY[{numbers}]::int[]) ORDER BY number LIMIT 1;",
        _refuse(NEWER),
        f"SELECT {title} INTO wrong FROM airfleet.migration"  # noqa: S608
        f" JOIN (VALUES {own}) AS own (number, title, content) USING (number)"
        f" WHERE (own.title, own.content) <> ({title}, digest) ORDER BY number LIMIT 1;",
        _refuse(OTHER.replace(" ({})", "")),
    ]
    for one in (one for kind in kinds for one in migrations if one.kind == kind):
        lines += [
            f"IF NOT EXISTS (SELECT FROM airfleet.migration WHERE number = {one.number}) THEN",
            f"EXECUTE $migration${one.sql}$migration$;",
            f"{_note(one)};",
            "END IF;",
        ]
    return "\n".join([*lines, "END $airfleet$;"])


def _refuse(message: str) -> str:
    return f"IF FOUND THEN RAISE EXCEPTION '%', replace('{message}', '{{}}', wrong); END IF;"


def execute_on(connection: Any) -> Execute:  # noqa: ANN401 - of psycopg or psycopg2, in autocommit mode
    """Return a function that executes SQL on a connection in autocommit mode."""

    def execute(statement: str) -> Sequence[Sequence[Any]]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return execute
