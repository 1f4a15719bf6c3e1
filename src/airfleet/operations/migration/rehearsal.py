"""A rehearsal of the database's upgrade: a copy of Airflow 2's metadata database, upgraded by Airflow 3 itself.

The copy is made in a PostgreSQL of its own, which ends with the command. Neither platform notices. No code runs that
the old database holds.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from airfleet.errors import AirfleetError
from airfleet.operations.backup.embedded.cluster import Cluster, remove
from airfleet.operations.migration import airflow_without_pickle, confinement, metadata_copy, run_conf
from airfleet.operations.migration.confinement import ProcessConfinement
from airfleet.operations.migration.metadata import find_postgresql
from airfleet.operations.migration.run_conf import DroppedConf
from airfleet.operations.migration.text import make_printable
from airfleet.spec.secrets import Secret
from airfleet.workspace import file_lock

FOLDER = "rehearsal"
# What a user would miss. Other tables are made anew by Airflow 3, such as the texts of Dags.
TABLES = ("dag", "dag_run", "task_instance", "xcom", "log", "connection", "variable", "slot_pool", "ab_user", "ab_role")
# What the migration gets of the caller's environment. None of it is a secret.
INHERITED = ("LANG", "LD_LIBRARY_PATH", "PATH", "TZ")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it. `rows` has for each table how many rows there were before and after, or None for no table.

    `size` is that of the dump in bytes. `left_out` names what the old database has beside tables. `remains` says what
    the process of the migration could do, because this machine does not allow to confine it better.
    """

    old_revision: str
    new_revision: str
    size: int
    copy_s: float
    upgrade_s: float
    rows: Mapping[str, tuple[int | None, int | None]]
    left_out: tuple[str, ...]
    dropped_conf: DroppedConf
    remains: tuple[str, ...] = ()

    @property
    def lost(self) -> tuple[str, ...]:
        """Return the tables that have fewer rows than before."""
        return tuple(name for name, (old, new) in self.rows.items() if (new or 0) < (old or 0))


def rehearse(
    url: str,
    state: Path,
    binaries: Path,
    python: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
) -> Rehearsal:
    """Copy the database at a URL, upgrade the copy, and compare.

    `python` has the new Airflow. The upgrade gets little of `environment`: see INHERITED. The copy is removed at the
    end, and by the next rehearsal if this one is killed.

    Raises:
        UsageError: The URL is not one of PostgreSQL.
        AirfleetError: The database cannot be read, or the upgrade fails. Its last lines are in the error.
    """
    source = find_postgresql(url)
    # Another rehearsal would remove the database of this one.
    with file_lock.wait_and_hold(state / f"{FOLDER}.lock"):
        return _rehearse(source, state / FOLDER, binaries, python, environment, tell)


def _rehearse(
    source: str,
    folder: Path,
    binaries: Path,
    python: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
) -> Rehearsal:
    remove(folder)
    cluster = Cluster(folder / "data", binaries, folder / "backups", Secret(secrets.token_urlsafe(24)))
    try:
        sockets = folder if confinement.fits(folder) else None
        with metadata_copy.serve_copy(cluster, folder, sockets) as dsn:
            begun = time.monotonic()
            tell("copies the tables of the database")
            copied = metadata_copy.fill(source, dsn, folder, binaries)
            copied_at = time.monotonic()
            before, old = _count(dsn)
            dropped = _drop_conf(dsn)
            tell(f"upgrades the copy, revision {make_printable(old)}")
            upgrade_at = time.monotonic()
            home = folder / "airflow"
            home.mkdir()
            cluster.own(home)
            confined = confinement.confine(python, home, sockets)
            upgrade(python, dsn, sockets, home, environment, confined)
            upgraded_at = time.monotonic()
            after, new = _count(dsn)
    finally:
        remove(folder)
    rows = {name: (before.get(name), after.get(name)) for name in TABLES}
    return Rehearsal(
        old_revision=old,
        new_revision=new,
        size=copied.size,
        copy_s=copied_at - begun,
        upgrade_s=upgraded_at - upgrade_at,
        rows=rows,
        left_out=copied.left_out,
        dropped_conf=dropped,
        remains=confined.remains,
    )


def list_lines(found: Rehearsal) -> Iterator[str]:
    """Yield the report for a terminal."""
    yield f"revision {make_printable(found.old_revision)} became {found.new_revision}"
    yield f"copied in {found.copy_s:.0f} s ({found.size / 1e6:.1f} MB), upgraded in {found.upgrade_s:.0f} s"
    yield f"{'table':16} {'before':>12} {'after':>12}"
    for name, (old, new) in found.rows.items():
        mark = "  lost" if name in found.lost else ""
        yield f"{name:16} {'-' if old is None else old:>12} {'-' if new is None else new:>12}{mark}"
    if found.left_out:
        yield "not copied, as only tables are:"
        yield from (f"  {one}" for one in found.left_out)
    if dropped := found.dropped_conf.count:
        yield f"the `conf` of {dropped} runs was left out, as it is more than text, numbers, lists and mappings:"
        yield from (f"  {one}" for one in found.dropped_conf.runs)
    yield from confinement.list_lines(found.remains)


def _drop_conf(dsn: str) -> DroppedConf:
    try:
        with metadata_copy.connect(dsn) as connection:
            return run_conf.drop_unplain(connection)
    except psycopg.Error as error:
        what = f"the `conf` of the runs cannot be read: {make_printable(str(error).splitlines()[0])}"
        raise AirfleetError(what, hint="the table dag_run is not as Airflow 2 makes it") from None


def upgrade(
    python: Path,
    dsn: str,
    sockets: Path | None,
    home: Path,
    environment: Mapping[str, str],
    confined: ProcessConfinement,
) -> None:
    """Let Airflow upgrade a database, without the caller's environment and configuration.

    Raises:
        AirfleetError: The migrations fail. Their last lines are in the error.
    """
    if sockets is not None and not confined.has_network:
        dsn = metadata_copy.through_socket(dsn, sockets)
    own = {
        **{name: environment[name] for name in INHERITED if name in environment},
        "HOME": str(home),
        "TMPDIR": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": dsn.replace("postgresql://", "postgresql+psycopg2://", 1),
    }
    # -I: no module comes from the folder in which the command was called, or from PYTHONPATH.
    command = [*confined.words, str(python), "-I", str(airflow_without_pickle.__file__), "db", "migrate"]
    done = subprocess.run(
        command,
        env=own,
        cwd=home,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        **confined.arguments,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-12:]
        what = "Airflow's migrations failed on the copy:\n" + "\n".join(f"  {make_printable(line)}" for line in lines)
        raise AirfleetError(what, hint="mend the cause in the old database, and rehearse again")


def _count(dsn: str) -> tuple[dict[str, int], str]:
    with metadata_copy.connect(dsn) as connection:
        there = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        names = {str(name) for (name,) in there}
        if "alembic_version" not in names:
            raise AirfleetError("the copy is no metadata database of Airflow", hint="name the database of Airflow 2")
        counts = {}
        for name in TABLES:
            if name in names:
                query = sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(name))
                row = connection.execute(query).fetchone()
                counts[name] = int(row[0]) if row else 0
        revision = connection.execute("SELECT version_num FROM public.alembic_version").fetchone()
    return counts, str(revision[0]) if revision else ""
