"""A rehearsal of the database's upgrade: a copy of Airflow 2's metadata database, upgraded by Airflow 3 itself.

The copy is made in a PostgreSQL of its own, which ends with the command. Neither platform notices.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from airfleet.components.postgresql import embedded
from airfleet.errors import AirfleetError
from airfleet.operations.backup.embedded.cluster import Cluster, as_server_user, remove
from airfleet.operations.migration.metadata import check_url
from airfleet.spec.secrets import Secret
from airfleet.workspace import file_lock

FOLDER = "rehearsal"
# What a user would miss. Other tables are made anew by Airflow 3, such as the texts of Dags.
TABLES = ("dag", "dag_run", "task_instance", "xcom", "log", "connection", "variable", "slot_pool", "ab_user", "ab_role")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it. `rows` has for each table how many rows there were before and after, or None for no table."""

    old_revision: str
    new_revision: str
    size: int
    copy_s: float
    upgrade_s: float
    rows: Mapping[str, tuple[int | None, int | None]]

    @property
    def lost(self) -> tuple[str, ...]:
        """Return the tables that have fewer rows than before."""
        return tuple(name for name, (old, new) in self.rows.items() if (new or 0) < (old or 0))


def rehearse(
    url: str,
    state: Path,
    binaries: Path,
    upgrade: Sequence[str],
    environment: Mapping[str, str],
    tell: Callable[[str], None],
) -> Rehearsal:
    """Copy the database at a URL, upgrade the copy, and compare.

    `upgrade` is the command that upgrades the database that Airflow's configuration names, and `environment` is its
    environment. The copy is removed at the end, and by the next rehearsal if this one is killed.

    Raises:
        UsageError: The URL is not one of PostgreSQL.
        AirfleetError: The database cannot be read, or the upgrade fails. Its last lines are in the error.
    """
    source = check_url(f"postgresql://{url.partition('://')[2]}")
    # Another rehearsal would remove the database of this one.
    with file_lock.wait_and_hold(state / f"{FOLDER}.lock"):
        return _rehearse(source, state / FOLDER, binaries, upgrade, environment, tell)


def _rehearse(
    source: str,
    folder: Path,
    binaries: Path,
    upgrade: Sequence[str],
    environment: Mapping[str, str],
    tell: Callable[[str], None],
) -> Rehearsal:
    remove(folder)
    cluster = Cluster(folder / "data", binaries, folder / "backups", Secret(secrets.token_urlsafe(24)))
    try:
        with _serve(cluster, folder) as dsn:
            begun = time.monotonic()
            tell("copies the database")
            _copy(source, dsn, folder, binaries)
            copied = time.monotonic()
            before, old = _count(dsn)
            tell(f"upgrades the copy, revision {old}")
            _upgrade(upgrade, dsn, environment)
            upgraded = time.monotonic()
            after, new = _count(dsn)
            size = (folder / "copy.dump").stat().st_size
    finally:
        remove(folder)
    rows = {name: (before.get(name), after.get(name)) for name in TABLES}
    return Rehearsal(old, new, size, copied - begun, upgraded - copied, rows)


def list_lines(found: Rehearsal) -> Iterator[str]:
    """Yield the report for a terminal."""
    yield f"revision {found.old_revision} became {found.new_revision}"
    yield f"copied in {found.copy_s:.0f} s ({found.size / 1e6:.1f} MB), upgraded in {found.upgrade_s:.0f} s"
    yield f"{'table':16} {'before':>12} {'after':>12}"
    for name, (old, new) in found.rows.items():
        mark = "  lost" if name in found.lost else ""
        yield f"{name:16} {'-' if old is None else old:>12} {'-' if new is None else new:>12}{mark}"


@contextmanager
def _serve(cluster: Cluster, folder: Path) -> Iterator[str]:
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
    with cluster.serve(cluster.data, folder / "log") as port:
        yield cluster.dsn(port)


def _copy(source: str, target: str, folder: Path, binaries: Path) -> None:
    """Copy through a file: a failure of either program is told, and the size is known."""
    dump = folder / "copy.dump"
    dump.touch(mode=0o600)
    _run([binaries / "pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--file", dump], source)
    # The search path of the dump names the schema, which the copy has too.
    _run(
        [binaries / "pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--dbname=postgres", dump], target
    )


def _run(command: Sequence[str | Path], dsn: str) -> None:
    """Run a program of PostgreSQL. It gets the login by its environment, which only its own user can read."""
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
        check=False,
    )
    if done.returncode:
        raise AirfleetError(f"{program} failed: {_last(done.stderr)}", hint="the login must read every table")


def _upgrade(command: Sequence[str], dsn: str, environment: Mapping[str, str]) -> None:
    own = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": dsn.replace("postgresql://", "postgresql+psycopg2://", 1)}
    done = subprocess.run(command, env={**environment, **own}, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-12:]
        what = "Airflow's migrations failed on the copy:\n" + "\n".join(f"  {line}" for line in lines)
        raise AirfleetError(what, hint="mend the cause in the old database, and rehearse again")


def _count(dsn: str) -> tuple[dict[str, int], str]:
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        there = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        names = {str(name) for (name,) in there}
        if "alembic_version" not in names:
            raise AirfleetError("the copy is no metadata database of Airflow", hint="name the database of Airflow 2")
        counts = {}
        for name in TABLES:
            if name in names:
                row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
                counts[name] = int(row[0]) if row else 0
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return counts, str(revision[0]) if revision else ""


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
