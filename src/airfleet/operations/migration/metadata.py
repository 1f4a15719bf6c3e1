"""What a metadata database of Airflow 2 holds, from the server, an SQLite file, or a plain dump. It is only read.

No value of a secret is read: of variables only the keys, of passwords and extras only whether there is one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.migration.text import make_printable

CONNECT_S = 10
STATEMENT_MS = 60_000

Row = tuple[object, ...]
# Of each table, the columns that are read. A column in _PRESENT is read as "is there one".
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "connection": ("conn_id", "conn_type", "host", "schema", "login", "port", "password", "extra"),
    "variable": ("key",),
    "slot_pool": ("pool", "slots", "description", "include_deferred"),
    "ab_user": ("id", "username", "email", "active"),
    "ab_role": ("id", "name"),
    "ab_user_role": ("user_id", "role_id"),
    "dag": ("dag_id", "is_paused", "is_active"),
    "alembic_version": ("version_num",),
}
_PRESENT = frozenset({"password", "extra"})
_WORDS = frozenset({"host", "schema"})  # quoted, as they mean something in SQL


@dataclass(frozen=True, slots=True)
class FormerConnection:
    """A connection of Airflow 2 without its secrets."""

    name: str
    type: str
    host: str
    schema: str
    login: str
    port: int | None
    has_password: bool
    has_extra: bool


@dataclass(frozen=True, slots=True)
class FormerSlotPool:
    """A slot pool of Airflow 2."""

    name: str
    slots: int
    description: str
    include_deferred: bool


@dataclass(frozen=True, slots=True)
class User:
    """A user of Airflow 2 and its roles. The password is not taken over."""

    name: str
    email: str
    roles: tuple[str, ...]
    is_active: bool


@dataclass(frozen=True, slots=True)
class Metadata:
    """What was found. `paused` has the ids of paused Dags. A table that is missing is empty, and `missing` names it."""

    revision: str = ""
    connections: tuple[FormerConnection, ...] = ()
    variables: tuple[str, ...] = ()
    slot_pools: tuple[FormerSlotPool, ...] = ()
    users: tuple[User, ...] = ()
    dags: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def read_url(url: str) -> Metadata:
    """Return what a database holds: `postgresql://…` or `sqlite:///path`, with or without a driver's name.

    Raises:
        UsageError: The URL is of another database.
        AirfleetError: The database cannot be read.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(_NO_URL, hint=_FORM) from None
    if "://" not in url:
        raise UsageError(_NO_URL, hint=_FORM)
    kind = parts.scheme.partition("+")[0]
    if kind == "sqlite":
        return _read_sqlite(Path(unquote(parts.path.removeprefix("/"))))
    if kind not in ("postgresql", "postgres"):
        hint = "PostgreSQL and SQLite are read; leave the database out, or copy its tables into one of them"
        raise UsageError(f"a database of the kind {kind or 'unknown'} is not read", hint=hint)
    return _read_postgresql(find_postgresql(url))


def read_dump(path: Path) -> Metadata:
    """Return what a plain dump of PostgreSQL holds (`pg_dump`, with COPY), or an SQLite file.

    Raises:
        UsageError: It is neither.
        AirfleetError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), hint="name a dump") from None
    if head.startswith(b"SQLite format 3"):
        return _read_sqlite(path)
    if head.startswith(b"PGDMP"):
        hint = f"pg_restore --no-owner -f dump.sql {path.name}"
        raise UsageError("a dump in PostgreSQL's custom format", where=str(path), hint=hint)
    with path.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        tables = dict(_read_copies(stream))
    if "alembic_version" not in tables and "dag" not in tables:
        raise UsageError("no plain dump of a metadata database", where=str(path), hint="pg_dump --format plain")
    return _collect(tables.get)


_TABLES = (
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND n.nspname = ANY(%s) AND c.relname = ANY(%s)"
)
_TABLE_COLUMNS = (
    "SELECT a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid"
    " WHERE c.relkind = 'r' AND n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped"
    " AND t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::regnamespace"
)

# No message has a part of the URL, as a password that is not encoded may be in any part.
_NO_URL = "this is no URL of PostgreSQL or SQLite"
_NO_POSTGRESQL = "this is no URL of PostgreSQL, the only database that this command reads"
_FORM = "postgresql://login:password@host:5432/database; in the password, write % as %25, @ as %40, / as %2F"


def find_postgresql(url: str) -> str:
    """Return the URL for libpq of a URL for Airflow, such as postgresql+psycopg2://….

    Raises:
        UsageError: It names another kind of database, or none.
    """
    scheme, sep, rest = url.partition("://")
    if not sep or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise UsageError(_NO_POSTGRESQL, hint=_FORM)
    return _check_url(f"postgresql://{rest}")


def _check_url(url: str) -> str:
    """Return the URL if no part of its password is taken for another part of it. Raises UsageError."""
    try:
        words = conninfo_to_dict(url)
    except (psycopg.Error, ValueError):
        raise UsageError(_NO_URL, hint=_FORM) from None
    port = str(words.get("port") or "5432")
    if "@" in f"{words.get('host')}{words.get('dbname')}" or not port.replace(",", "").isdecimal():
        raise UsageError("the host, the port or the database of the URL cannot be", hint=_FORM)
    return url


def _read_postgresql(url: str) -> Metadata:
    # A policy of rows would call functions of the old database with the rights of the login.
    options = f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_MS} -c row_security=off"
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_S, options=options, autocommit=False) as connection:
            schema, columns = find_tables(connection, list(_COLUMNS))

            def read(table: str) -> Sequence[Row] | None:
                if table not in columns:
                    return None
                return connection.execute(_select(table, columns[table], f'"{schema}".').encode()).fetchall()

            return _collect(read)
    except psycopg.Error as error:
        # The message of a failed connection names host, port and user. _check_url has made sure that they are these.
        raise AirfleetError(f"the database cannot be read: {_first_line(error)}") from None


def find_tables(connection: psycopg.Connection, wanted: Sequence[str]) -> tuple[str, dict[str, set[str]]]:
    """Return the schema of Airflow's tables, and of each table the columns that can be read without running code.

    Whoever may write the database may have planted functions: behind a view with the name of a table, an operator of
    the search path, or a cast of a type. A read would run them with the rights of the login. So only tables are read,
    only their columns of PostgreSQL's own types, and without a search path.
    """
    [row] = connection.execute("SELECT pg_catalog.current_schemas(false)").fetchall()
    connection.execute("SELECT pg_catalog.set_config('search_path', '', false)")
    found: dict[str, dict[str, set[str]]] = {}
    for schema, table in connection.execute(_TABLES, (list(row[0]), list(wanted))).fetchall():
        # The lock keeps the table what it is.
        name = sql.Identifier(schema, table)
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(name))
        columns = {str(one) for (one,) in connection.execute(_TABLE_COLUMNS, (schema, table)).fetchall()}
        found.setdefault(str(schema), {})[str(table)] = columns
    for schema in row[0]:
        if tables := found.get(str(schema)):
            return str(schema), {table: columns for table, columns in tables.items() if columns}
    return "", {}


def _read_sqlite(path: Path) -> Metadata:
    if not path.is_file():
        raise UsageError("no such database", where=str(path), hint="sqlite:////absolute/path/airflow.db")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            # What the file defines may call no function that does more than compute.
            connection.execute("PRAGMA trusted_schema = OFF")

            def read(table: str) -> Sequence[Row] | None:
                kinds = connection.execute("SELECT type FROM sqlite_master WHERE name = ?", (table,)).fetchall()
                if kinds != [("table",)]:
                    return None
                columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                return connection.execute(_select(table, columns)).fetchall() if columns else None

            return _collect(read)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise AirfleetError(f"the database cannot be read: {_first_line(error)}", where=str(path)) from None


def _first_line(error: Exception) -> str:
    return make_printable((str(error).strip().splitlines() or ["it says nothing"])[0])


def _select(table: str, present: set[str], schema: str = "") -> str:
    """Return the statement that reads a table. The names come from _COLUMNS, but that of the schema."""
    parts = []
    for column in _COLUMNS[table]:
        if column not in present:
            parts.append("NULL")
        elif column in _PRESENT:
            parts.append(f"({column} IS NOT NULL AND {column} <> '')")
        else:
            parts.append(f'"{column}"' if column in _WORDS else column)
    return f"SELECT {', '.join(parts)} FROM {schema}{table}"  # noqa: S608


def _read_copies(lines: Iterable[str]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the wanted tables of a dump. Values of secrets become True as soon as their line is read."""
    wanted: tuple[str, dict[str, int]] | None = None
    rows: list[Row] = []
    for line in lines:
        if wanted is None:
            if line.startswith("COPY "):
                name, _, rest = line.removeprefix("COPY ").partition(" ")
                table = name.rpartition(".")[2].strip('"')
                columns = [one.strip().strip('"') for one in rest[rest.find("(") + 1 : rest.find(")")].split(",")]
                if table in _COLUMNS:
                    wanted, rows = (table, {column: index for index, column in enumerate(columns)}), []
            continue
        if line.rstrip("\n") == "\\.":
            yield wanted[0], rows
            wanted = None
            continue
        fields = line.rstrip("\n").split("\t")
        rows.append(tuple(_pick(fields, wanted[1], column) for column in _COLUMNS[wanted[0]]))


def _pick(fields: list[str], places: Mapping[str, int], column: str) -> object:
    place = places.get(column)
    if place is None or place >= len(fields) or fields[place] == "\\N":
        return None
    if column in _PRESENT:
        return fields[place] != ""
    return fields[place].replace("\\t", "\t").replace("\\n", "\n").replace("\\\\", "\\")


def _collect(read: Callable[[str], Sequence[Row] | None]) -> Metadata:
    tables = {table: read(table) for table in _COLUMNS}
    rows: dict[str, Sequence[Row]] = {table: found or () for table, found in tables.items()}
    roles = {str(number): str(name) for number, name in rows["ab_role"]}
    held: dict[str, list[str]] = {}
    for user, role in rows["ab_user_role"]:
        held.setdefault(str(user), []).append(roles.get(str(role), "?"))
    dags = [(str(name), _truth(paused)) for name, paused, active in rows["dag"] if active is None or _truth(active)]
    return Metadata(
        revision=str(rows["alembic_version"][0][0]) if rows["alembic_version"] else "",
        connections=tuple(sorted((_connection(row) for row in rows["connection"]), key=lambda one: one.name)),
        variables=tuple(sorted(str(row[0]) for row in rows["variable"])),
        slot_pools=tuple(
            FormerSlotPool(str(name), int(str(slots)), str(words or ""), _truth(deferred))
            for name, slots, words, deferred in sorted(rows["slot_pool"], key=lambda row: str(row[0]))
        ),
        users=tuple(
            User(str(name), str(mail or ""), tuple(sorted(held.get(str(number), []))), _truth(active))
            for number, name, mail, active in sorted(rows["ab_user"], key=lambda row: str(row[1]))
        ),
        dags=tuple(sorted(name for name, _ in dags)),
        paused=tuple(sorted(name for name, paused in dags if paused)),
        missing=tuple(sorted(table for table, found in tables.items() if found is None)),
    )


def _connection(row: Row) -> FormerConnection:
    name, kind, host, schema, login, port, password, extra = row
    return FormerConnection(
        name=str(name),
        type=str(kind or ""),
        host=str(host or ""),
        schema=str(schema or ""),
        login=str(login or ""),
        port=int(str(port)) if port not in (None, "") else None,
        has_password=bool(password),
        has_extra=bool(extra),
    )


def _truth(value: object) -> bool:
    return str(value).lower() in ("t", "true", "1")
