"""The backups of a fleet, which pgBackRest keeps for the primary: make one, list them, and check them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airfleet.components.postgresql import backups
from airfleet.components.postgresql.psql import AS_SERVER, build_command
from airfleet.operations.backup.catalogue import Backup
from airfleet.runners.fleet.transport.connection import HostError, Output
from airfleet.runners.fleet.transport.sections import MARK
from airfleet.runners.fleet.transport.shell import Shell
from airfleet.shell_script import render_script
from airfleet.spec.fleet import Backups

TAKE_S = 6 * 3600.0
# The exit code of pgBackRest while another backup runs.
LOCKED = 50
# Seconds without an archived file after which the archive is late. PostgreSQL archives a file every five minutes.
LATE_S = 600


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """The state of the backups and of the archive.

    `used` and `free` are bytes. `waiting` counts WAL files that are not archived yet. `silent_s` is the time since the
    last archived file, and `began_s` the time since the server's start.
    """

    backups: tuple[Backup, ...]
    used: int
    free: int
    now: datetime
    waiting: int = 0
    silent_s: float = 0.0
    began_s: float = 0.0


def take(shell: Shell, host: str, wanted: Backups, notify: Callable[[str], None]) -> Backup:
    """Make a full backup of the primary while everything runs, then delete backups that are too old.

    Raises:
        HostError: The backup fails.
    """
    notify(f"{host}: copying the database into {wanted.folder}")
    said = _run(shell, host, build_take(wanted), "the backup", timeout_s=TAKE_S)
    return parse_backups(said)[-1]


def list_backups(shell: Shell, host: str) -> tuple[Backup, ...]:
    """Return every full backup, the oldest first."""
    script = f"cd /\n{AS_SERVER} {backups.COMMAND} info --output=json"
    return parse_backups(_run(shell, host, script, "listing the backups"))


def look(shell: Shell, host: str, wanted: Backups) -> RepositoryState:
    """Return the state of the backups and of the archive.

    Raises:
        HostError: The host cannot report it.
    """
    said = _run(shell, host, build_look(wanted), "checking the backups")
    try:
        return parse_look(said)
    except ValueError as error:
        hint = f"look at {wanted.folder} there; `airfleet apply` makes it"
        raise HostError("the backups cannot be checked", where=host, hint=hint, output=said) from error


def build_take(wanted: Backups) -> str:
    """Return the script that makes a backup. If another backup runs, the script waits for it first."""
    inner = backups.render_functions(wanted.folder) + render_script(__package__, "take", LOCKED=LOCKED)
    return f"cd /\n{AS_SERVER} sh -c {shlex.quote(inner)}"


def build_look(wanted: Backups) -> str:
    """Return the script whose output `parse_look` reads."""
    ages = (
        "SELECT extract(epoch FROM clock_timestamp() - coalesce(last_archived_time, began))::bigint,"
        " extract(epoch FROM clock_timestamp() - began)::bigint"
        " FROM pg_stat_archiver, pg_postmaster_start_time() began"
    )
    return render_script(
        __package__,
        "look_at_archive",
        PGBACKREST=backups.COMMAND,
        MARK=MARK,
        REPOSITORY=wanted.folder,
        STATUS=f"{backups.DATA}/pg_wal/archive_status",
        PSQL=build_command(),
        AGES=ages,
    )


def parse_backups(text: str) -> tuple[Backup, ...]:
    """Return the full backups in pgBackRest's JSON, the oldest first."""
    found = [
        _convert(one, {base["id"]: base["version"] for base in stanza["db"]})
        for stanza in json.loads(text)
        for one in stanza["backup"]
        if not one.get("error")
    ]
    return tuple(sorted(found, key=lambda backup: backup.ended))


def _convert(one: dict[str, Any], versions: dict[int, str]) -> Backup:
    return Backup(
        name=one["label"],
        began=datetime.fromtimestamp(one["timestamp"]["start"], UTC),
        # pgBackRest reports whole seconds, so the copy may have ended up to a second later.
        ended=datetime.fromtimestamp(one["timestamp"]["stop"], UTC) + timedelta(seconds=1),
        first_segment=one["archive"]["start"],
        bytes=one["info"]["repository"]["delta"],
        postgres=versions[one["database"]["id"]],
    )


def parse_look(text: str) -> RepositoryState:
    """Return the state of the backups from the output of the script of `build_look`."""
    listed, _, rest = text.partition(MARK)
    used, free, now, waiting, ages = rest.split()
    silent, _, began = ages.partition("|")
    return RepositoryState(
        backups=parse_backups(listed),
        used=int(used),
        free=int(free),
        now=datetime.fromtimestamp(int(now), UTC),
        waiting=int(waiting),
        silent_s=float(silent),
        began_s=float(began),
    )


def judge(archive: RepositoryState, wanted: Backups) -> tuple[tuple[str, bool, str], ...]:
    """Judge the backups and the archive. Each result is a subject, whether it is healthy, and a detail."""
    return (_judge_backups(archive, wanted), _judge_archive(archive))


def _judge_backups(archive: RepositoryState, wanted: Backups) -> tuple[str, bool, str]:
    room = f"{_size(archive.used)} used, {_size(archive.free)} free in {wanted.folder}"
    if not archive.backups:
        return "backups", archive.began_s < LATE_S, f"none yet; {room}"
    age = archive.now - archive.backups[-1].ended
    is_well = age < timedelta(hours=wanted.every_hours, seconds=LATE_S) * 1.25
    return "backups", is_well, f"{len(archive.backups)}, the newest {_age(age)} old; {room}"


def _judge_archive(archive: RepositoryState) -> tuple[str, bool, str]:
    if not archive.waiting or archive.silent_s < LATE_S:
        return "archive", True, "every change is archived"
    since = _age(timedelta(seconds=archive.silent_s))
    return (
        "archive",
        False,
        f"no change archived for {since}: {archive.waiting} files wait",
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _age(age: timedelta) -> str:
    minutes = max(0, int(age.total_seconds() // 60))
    return f"{minutes // 60} h" if minutes >= 120 else f"{minutes} min"


def _run(shell: Shell, host: str, script: str, what: str, *, timeout_s: float = 60) -> str:
    done = shell.run(script, timeout_s=timeout_s)
    if done.code:
        raise explain(done, what, host)
    return done.out


def explain(done: Output, what: str, host: str) -> HostError:
    """Return the error of a script of pgBackRest or PostgreSQL, with its first error line and its own hint."""
    text = f"{done.err}\n{done.out}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line.partition("ERROR:")[2] or line.partition("FATAL:")[2] for line in lines if _tells(line)), "")
    hint = next((line.partition("HINT:")[2].strip() for line in lines if line.startswith("HINT:")), "")
    if "not found" in text or "No such file or directory" in text:
        hint = hint or "airfleet apply installs it"
    last = lines[-1] if lines else f"exit code {done.code}"
    return HostError(f"{what} failed: {told.strip() or last}", where=host, hint=hint or "airfleet status", output=text)


def _tells(line: str) -> bool:
    return "ERROR:" in line or "FATAL:" in line
