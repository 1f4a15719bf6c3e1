"""An embedded PostgreSQL without a platform."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from airfleet.runners.local import launch, ports
from airfleet.runners.local.processes import UNPRIVILEGED_USER
from airfleet_provider.contract.migrations import runner
from deadline import PATIENCE_S, wait_until

# A server of a test need not survive that this machine loses its power, and its tables are too small for a cleanup.
THRIFTY = ("--fsync=off", "--full_page_writes=off", "--autovacuum=off")


@dataclass
class Server:
    """A server that asks no client on the loopback for a password; only for tests."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self, *options: str) -> None:
        words = ["-D", str(self.folder), "-p", str(self.port), "-k", "", "-h", "127.0.0.1", *THRIFTY, *options]
        with (self.folder.parent / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(launch.find_postgres() / "postgres"), *words], stdout=log, stderr=log, cwd="/", **as_nobody()
            )
        wait_until(self.is_up, "PostgreSQL", seen=(self.folder.parent / "postgres.log").read_text)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_S)
            self.process = None

    def is_up(self) -> bool:
        try:
            return bool(self.query("SELECT 1"))
        except psycopg.OperationalError:
            return False

    def query(self, sql: str, *words: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(sql, words or None)
            return cursor.fetchall() if cursor.description else []


def as_nobody() -> dict[str, Any]:
    """Return the arguments of `subprocess` with which root runs PostgreSQL as another user."""
    if os.geteuid():
        return {}
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@functools.cache
def _make_cluster() -> Path:
    """The data of a new empty server, made once in this process, as initdb takes a second of CPU."""
    root = Path(tempfile.mkdtemp(prefix="airfleet-cluster-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    give_away(root)
    initdb = str(launch.find_postgres() / "initdb")
    words = [initdb, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", str(root / "data")]
    subprocess.run(words, check=True, capture_output=True, cwd="/", **as_nobody())
    return root / "data"


def copy_cluster(data: Path, cluster: Path | None = None) -> None:
    """Make the data of a server that was never started: those of a stopped server, or empty ones."""
    words = ["cp", "-a", "--reflink=auto", str(cluster or _make_cluster()), str(data)]
    subprocess.run(words, check=True, capture_output=True, cwd="/", **as_nobody())


def give_away(folder: Path) -> None:
    """Let the user that runs PostgreSQL write to a folder."""
    if not os.geteuid():
        os.chown(folder, pwd.getpwnam(UNPRIVILEGED_USER).pw_uid, -1)


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """Run a new empty server until the end of the context."""
    with tempfile.TemporaryDirectory(prefix="airfleet-server-", ignore_cleanup_errors=True) as name:
        give_away(Path(name))
        server = Server(Path(name) / "data", ports.find_free())
        copy_cluster(server.folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def serve_own() -> Iterator[Server]:
    """Run a new server with airfleet's own tables until the end of the context."""
    with serve() as server:
        migrate(server)
        yield server


def migrate(server: Server) -> None:
    """Make airfleet's own tables in a server."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        runner.migrate(runner.execute_on(connection), runner.read_own())
