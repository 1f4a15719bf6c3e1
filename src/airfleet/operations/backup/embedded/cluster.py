"""The data folder of the PostgreSQL server on this machine, and operations on it from outside of the platform."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from airfleet.components.postgresql import embedded
from airfleet.errors import AirfleetError
from airfleet.runners.local import ports
from airfleet.runners.local.processes import choose_user, die_with_parent
from airfleet.spec.secrets import Secret, list_accepted
from airfleet.workspace.state_folder import sync_folder

AT_FDCWD = -100
RENAME_EXCHANGE = 2
# Seconds without a log line after which a recovering server counts as stalled. It logs a line for each 16 MiB of WAL,
# but its last checkpoint may take minutes.
STALLED_S = 600.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server's data folder, programs, backups, and the password of its superuser."""

    data: Path
    binaries: Path
    backups: Path
    superuser: Secret
    clock: Callable[[], float] = time.monotonic

    @property
    def wal(self) -> Path:
        """Return the folder of archived WAL."""
        return embedded.wal_archive(self.backups)

    def run(self, program: str, *words: str, environment: Mapping[str, str] | None = None) -> str:
        """Run one of PostgreSQL's programs, and return its output.

        Raises:
            AirfleetError: The program fails; the error holds its last line.
        """
        done = subprocess.run(
            [str(self.binaries / program), *words],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={**os.environ, **(environment or {})},
            **as_server_user(),
        )
        output: str = done.stdout
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise AirfleetError(f"{program} failed: {lines[-1]}", where=str(self.data), hint="airfleet doctor")
        return output

    def own(self, path: Path | int, *, mode: int = 0o700) -> None:
        """Give a file or folder to the user that runs the server, with a mode that keeps others out."""
        user = choose_user(True)
        os.chmod(path, mode)  # noqa: PTH101 - it may be an open file
        if user:
            os.chown(path, user.pw_uid, user.pw_gid)

    @contextmanager
    def serve(self, data: Path, log: Path, *, sockets: Path | None = None) -> Iterator[int]:
        """Run a server on this data that no other process knows of, and yield its port. Stop it at the end.

        It listens on 127.0.0.1, and with `sockets` on a Unix socket in that folder too.

        Raises:
            AirfleetError: The server does not start, refuses the login, or stalls.
        """
        port = ports.find_free()
        options = {
            **embedded.archive_options(self.backups),
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(sockets or ""),
            "unix_socket_permissions": "0700",
            # A server with hot standby needs settings at least as large as those of the server that wrote the WAL.
            "hot_standby": "off",
        }
        words = [f"--{key}={value}" for key, value in options.items()]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", str(data), *words],
                stdout=output,
                stderr=output,
                cwd="/",
                preexec_fn=partial(die_with_parent, signal.SIGINT),  # noqa: PLW1509 - this program has one thread
                **as_server_user(),
            )
        try:
            self._wait_writable(process, port, log)
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()

    def _wait_writable(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        said, since = -1, self.clock()
        while process.poll() is None:
            refusals = []
            for password in list_accepted(self.superuser):
                try:
                    with psycopg.connect(self._dsn(port, password), autocommit=True, connect_timeout=5) as connection:
                        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
                        if row and not row[0]:
                            self._set_password(connection)
                            return
                        refusals.append("")
                except psycopg.OperationalError as error:
                    refusals.append(_find_refusal(str(error)))
            if all(refusals):
                hint = "the passwords in .airfleet/secrets are not those of this backup"
                raise AirfleetError(f"PostgreSQL refuses: {refusals[0]}", where=str(log), hint=hint)
            if (size := log.stat().st_size) != said:
                said, since = size, self.clock()
            elif self.clock() - since > STALLED_S:
                what = f"PostgreSQL has neither started to serve nor logged anything for {STALLED_S:g} s"
                raise AirfleetError(what, where=str(log), hint="its last lines are there")
            time.sleep(POLL_S)
        raise AirfleetError(_explain_end(log.read_text(errors="replace")), where=str(log))

    def _set_password(self, connection: psycopg.Connection) -> None:
        # The recovered data may be from before a rotation.
        connection.execute("SET log_min_error_statement = panic")
        change = sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}")
        connection.execute(change.format(sql.Literal(self.superuser.reveal())))

    def dsn(self, port: int) -> str:
        return self._dsn(port, self.superuser)

    @staticmethod
    def _dsn(port: int, password: Secret) -> str:
        return f"postgresql://{embedded.SUPERUSER}:{password.reveal()}@127.0.0.1:{port}/postgres"


def as_server_user() -> dict[str, Any]:
    """Return the arguments of subprocess that run PostgreSQL as another user. They are empty unless this is root."""
    user = choose_user(True)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders atomically.

    Raises:
        AirfleetError: The file system does not support this.
    """
    call = ctypes.CDLL(None, use_errno=True).renameat2
    if call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        reason = os.strerror(ctypes.get_errno())
        raise AirfleetError(f"this file system cannot exchange two folders at once: {reason}", where=str(one))
    sync_folder(one.parent)


def remove(folder: Path) -> None:
    """Delete a folder and its content. It is renamed first, so that a kill leaves a name that marks it as deleted."""
    if folder.exists():
        gone = folder if folder.suffix == ".gone" else folder.with_name(f"{folder.name}.gone")
        if gone != folder:
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
        shutil.rmtree(gone)


def _find_refusal(text: str) -> str:
    """Return the server's message if it refuses the login for good, or "" while it only starts or recovers."""
    fatal = [line.partition("FATAL:")[2].strip() for line in text.splitlines() if "FATAL:" in line]
    return next((line for line in fatal if not line.startswith("the database system is")), "")


def _explain_end(log: str) -> str:
    fatal = [line.partition("FATAL:")[2].strip() for line in log.splitlines() if "FATAL:" in line]
    return f"PostgreSQL could not recover to that moment: {fatal[-1]}" if fatal else "PostgreSQL did not start"
