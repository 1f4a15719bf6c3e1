"""An embedded PostgreSQL by itself, without a platform around it."""

from __future__ import annotations

import contextlib
import os
import pwd
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
from deadline import wait_until


@dataclass
class Server:
    """A server that trusts the loopback; only for tests."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self, *options: str) -> None:
        words = ["-D", str(self.folder), "-p", str(self.port), "-k", "", "-h", "127.0.0.1", *options]
        with (self.folder.parent / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(launch.find_postgres() / "postgres"), *words], stdout=log, stderr=log, cwd="/", **as_nobody()
            )
        wait_until(self.is_up, "PostgreSQL", timeout_s=180)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait(60)
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
    """The user that root runs PostgreSQL as."""
    if os.geteuid():
        return {}
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """A new empty server that runs until the end."""
    with tempfile.TemporaryDirectory(prefix="airfleet-server-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        if not os.geteuid():
            os.chown(root, pwd.getpwnam(UNPRIVILEGED_USER).pw_uid, -1)
        server = Server(root / "data", ports.find_free())
        initdb = str(launch.find_postgres() / "initdb")
        words = [initdb, "-U", "postgres", "-A", "trust", "--no-sync", str(server.folder)]
        subprocess.run(words, check=True, capture_output=True, cwd="/", **as_nobody())
        server.start()
        try:
            yield server
        finally:
            server.stop()
