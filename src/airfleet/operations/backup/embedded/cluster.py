"""One PostgreSQL server's data on this machine, and the few things that are done to it from outside."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from airfleet.components.postgresql import embedded
from airfleet.errors import AirfleetError
from airfleet.runners.local import ports
from airfleet.runners.local.processes import choose_user
from airfleet.spec.secrets import Secret, list_accepted
from airfleet.workspace.state_folder import sync_folder

AT_FDCWD = -100
RENAME_EXCHANGE = 2
# A server that recovers says something for each 16 MiB of changes, and may be at its last checkpoint for minutes.
STALLED_S = 600.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a server's data, programs and backups are, and who may do everything in it."""

    data: Path
    binaries: Path
    backups: Path
    superuser: Secret

    @property
    def wal(self) -> Path:
        """Where the server archives what it has written."""
        return embedded.wal_archive(self.backups)

    def run(self, program: str, *words: str, environment: Mapping[str, str] | None = None) -> str:
        """What one of PostgreSQL's programs prints; raises AirfleetError with its last words."""
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
        """Give it to the user that the server runs as, and nobody else a way into it."""
        user = choose_user(True)
        os.chmod(path, mode)  # noqa: PTH101 - it may be an open file
        if user:
            os.chown(path, user.pw_uid, user.pw_gid)

    @contextmanager
    def serve(self, data: Path, log: Path) -> Iterator[int]:
        """The port of a server on this data that nobody knows of; it is stopped at the end."""
        port = ports.find_free()
        options = {
            **embedded.archive_options(self.backups),
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            # Else it wants settings at least as large as those it had when it wrote what it recovers.
            "hot_standby": "off",
        }
        words = [f"--{key}={value}" for key, value in options.items()]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", str(data), *words],
                stdout=output,
                stderr=output,
                cwd="/",
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - this program has one thread
                **as_server_user(),
            )
        try:
            self._wait_writable(process, port, log)
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()

    def _wait_writable(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        said, since = -1, time.monotonic()
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
                said, since = size, time.monotonic()
            elif time.monotonic() - since > STALLED_S:
                what = f"PostgreSQL has neither started to serve nor logged anything for {STALLED_S:g} s"
                raise AirfleetError(what, where=str(log), hint="its last lines are there")
            time.sleep(POLL_S)
        raise AirfleetError(_explain_end(log.read_text(errors="replace")), where=str(log))

    def _set_password(self, connection: psycopg.Connection) -> None:
        # What was recovered may be from before a rotation.
        connection.execute("SET log_min_error_statement = panic")
        change = sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}")
        connection.execute(change.format(sql.Literal(self.superuser.reveal())))

    def dsn(self, port: int) -> str:
        return self._dsn(port, self.superuser)

    @staticmethod
    def _dsn(port: int, password: Secret) -> str:
        return f"postgresql://{embedded.SUPERUSER}:{password.reveal()}@127.0.0.1:{port}/postgres"


def as_server_user() -> dict[str, Any]:
    """The user that root runs PostgreSQL as, for subprocess; nothing for anybody else."""
    user = choose_user(True)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def exchange(one: Path, other: Path) -> None:
    """Let two folders change places in one step, so that there is no moment without either."""
    call = ctypes.CDLL(None, use_errno=True).renameat2
    if call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        reason = os.strerror(ctypes.get_errno())
        raise AirfleetError(f"this file system cannot exchange two folders at once: {reason}", where=str(one))
    sync_folder(one.parent)


def remove(folder: Path) -> None:
    """Remove a folder and all that is in it; a name that says so comes first, for whoever finds half of it."""
    if folder.exists():
        gone = folder if folder.suffix == ".gone" else folder.with_name(f"{folder.name}.gone")
        if gone != folder:
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
        shutil.rmtree(gone)


def _find_refusal(text: str) -> str:
    """What a server says that will never let us in; nothing while it only starts or recovers."""
    fatal = [line.partition("FATAL:")[2].strip() for line in text.splitlines() if "FATAL:" in line]
    return next((line for line in fatal if not line.startswith("the database system is")), "")


def _explain_end(log: str) -> str:
    fatal = [line.partition("FATAL:")[2].strip() for line in log.splitlines() if "FATAL:" in line]
    return f"PostgreSQL could not recover to that moment: {fatal[-1]}" if fatal else "PostgreSQL did not start"


def _end_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGINT, 0, 0, 0)
