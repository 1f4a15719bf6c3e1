"""A copy of Airflow 2's metadata database in a PostgreSQL of its own: its tables and their rows, and no code of it.

Each task of Airflow 2 can write the old database, and so can plant functions, triggers, views and rules there. The copy
has none of them. It belongs to a login without rights, and the superuser never connects to it after it was made. So
whatever the dump still does, it does as a login that can read no file, start no program, and reach no other database.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from airfleet.components.postgresql import embedded
from airfleet.errors import AirfleetError
from airfleet.operations.backup.embedded.cluster import Cluster, as_server_user
from airfleet.operations.migration.text import make_printable

# The login and its database.
COPY = "rehearsal"
RIGHTS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
# The entries of an archive that make tables and fill them. Of two kinds that begin alike, the other one is named.
_RESTORED = re.compile(
    r"(\d+); \d+ \d+ (?:TABLE DATA|TABLE(?! ATTACH )|SEQUENCE OWNED BY|SEQUENCE SET|SEQUENCE|DEFAULT(?! ACL )"
    r"|CHECK CONSTRAINT|FK CONSTRAINT|CONSTRAINT|INDEX(?! ATTACH )) public "
)
_ENTRY = re.compile(r"\d+; \d+ \d+ (.+)")
# Entries that say something about others, or about the dump.
_ABOUT = ("ACL ", "COMMENT ", "DEFAULT ACL ", "ENCODING ", "SCHEMA ", "SEARCHPATH ", "SECURITY LABEL ", "STDSTRINGS ")


@dataclass(frozen=True, slots=True)
class CopiedTables:
    """What was copied. `left_out` names what the old database has beside tables: functions, triggers, views.

    `size` is that of the dump in bytes.
    """

    size: int
    left_out: tuple[str, ...]


@contextmanager
def serve_copy(cluster: Cluster, folder: Path, sockets: Path | None) -> Iterator[str]:
    """Make an empty database of a login without rights, and yield the URL with that login. Stop the server at the end.

    `through_socket` makes of it the URL by the Unix socket, which needs no network.

    Raises:
        AirfleetError: The server does not start.
    """
    folder.mkdir(parents=True)
    cluster.own(folder)
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(cluster.superuser.reveal())
    cluster.own(password, mode=0o600)
    words = (f"--username={embedded.SUPERUSER}", f"--pwfile={password}", "--auth=scram-sha-256", "--no-sync")
    done = subprocess.run(
        [str(cluster.binaries / "initdb"), *words, "--encoding=UTF8", "--locale=C.UTF-8", "-D", str(cluster.data)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **as_server_user(),
    )
    if done.returncode:
        raise AirfleetError(f"initdb failed: {_last(done.stderr)}", where=str(folder))
    # Nothing needs it any more, and the login of the copy must not find it.
    password.unlink()
    with cluster.serve(cluster.data, folder / "log", sockets=sockets) as port:
        secret = secrets.token_urlsafe(24)
        with psycopg.connect(cluster.dsn(port), autocommit=True, connect_timeout=10) as connection:
            name = sql.Identifier(COPY)
            role = sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}")
            connection.execute(role.format(name, sql.SQL(RIGHTS), sql.Literal(secret)))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(name, name))
            connection.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
        yield f"postgresql://{COPY}:{secret}@127.0.0.1:{port}/{COPY}"


def through_socket(dsn: str, sockets: Path) -> str:
    """Return the URL of the same database by the Unix socket in a folder."""
    parts = urlsplit(dsn)
    login = parts.netloc.rpartition("@")[0]
    return f"postgresql://{login}@{parts.path}?host={quote(str(sockets), safe='')}&port={parts.port}"


def fill(source: str, target: str, folder: Path, binaries: Path) -> CopiedTables:
    """Copy the tables of a database's schema `public` into the database at another URL.

    The dump is a file, so that a failure of either program is told.

    Raises:
        AirfleetError: The source cannot be read, or a table needs something that was left out.
    """
    dump = folder / "copy.dump"
    dump.touch(mode=0o600)
    everything = ("--format=custom", "--schema=public", "--no-owner", "--no-privileges")
    _run([binaries / "pg_dump", *everything, "--file", dump], source, hint="the login must read every table")
    contents = _run([binaries / "pg_restore", "--list", dump]).splitlines()
    chosen = folder / "entries"
    chosen.write_text("".join(f"{number};\n" for number in choose_entries(contents)))
    left_out = tuple(list_left_out(contents))
    hint = f"the copy has tables only; the old database also has: {', '.join(left_out[:10])}" if left_out else ""
    # The search path of the dump names the schema, which the copy has too.
    words = ("--no-owner", "--no-privileges", "--no-tablespaces", "--no-table-access-method", "--exit-on-error")
    _run([binaries / "pg_restore", *words, "--use-list", chosen, f"--dbname={COPY}", dump], target, hint=hint)
    return CopiedTables(dump.stat().st_size, left_out)


def choose_entries(contents: Sequence[str]) -> Iterator[str]:
    """Yield the numbers of the entries that make tables and fill them, from the lines of `pg_restore --list`."""
    for line in contents:
        if found := _RESTORED.match(line):
            yield found[1]


def list_left_out(contents: Sequence[str]) -> Iterator[str]:
    """Yield the other entries that a user may know: functions, triggers, views, types."""
    for line in contents:
        found = _ENTRY.match(line)
        if found and not _RESTORED.match(line) and not found[1].startswith(_ABOUT):
            yield make_printable(found[1])


def connect(dsn: str) -> psycopg.Connection:
    """Return a connection to the copy. Names that are not qualified are those of PostgreSQL itself."""
    return psycopg.connect(dsn, connect_timeout=10, options="-c search_path=pg_catalog")


def _run(command: Sequence[str | Path], dsn: str = "", *, hint: str = "") -> str:
    """Run a program of PostgreSQL, and return its output.

    The program gets the login by its environment, which only its own user can read.
    """
    words = conninfo_to_dict(dsn)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    names |= {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}
    login = {names[key]: str(value) for key, value in words.items() if key in names}
    program = Path(command[0]).name
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "PGCONNECT_TIMEOUT": "10", **login},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise AirfleetError(f"{program} failed: {_find_error(program, done.stderr)}", hint=hint)
    return done.stdout


def _find_error(program: str, text: str) -> str:
    """Return the line in which a program of PostgreSQL says what is wrong: lines after it say what to look at."""
    start = f"{program}: error: "
    said = next((line for line in text.splitlines() if line.startswith(start)), "")
    return make_printable(said.removeprefix(start).strip()) or _last(text)


def _last(text: str) -> str:
    return make_printable((text.strip().splitlines() or ["it said nothing"])[-1].strip())
