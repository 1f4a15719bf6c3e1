"""Processes of the operating system: start, reap, signal, and find those that an earlier supervisor left."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from airfleet.components.model import Command
from airfleet.errors import AirfleetError
from airfleet_provider.contract import session_notes

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
INSTANCE_VARIABLE = "AIRFLEET_INSTANCE"
# PostgreSQL refuses to run as root, so root runs it as this user, which every system has.
UNPRIVILEGED_USER = "nobody"
# Seconds to wait for a process of PostgreSQL that was killed: it ends when the disk has written what it waits for.
WRITTEN_S = 30.0


def become_subreaper() -> None:
    """Make this process the parent of every orphan among its descendants, so that it can reap all of them."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int) -> None:
    """Make the kernel send this process a signal when the thread that started it ends."""
    _prctl(PR_SET_PDEATHSIG, number)


def start(
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    log: Path,
    unprivileged: bool = False,
    death_signal: int = signal.SIGTERM,
    inherit: tuple[int, ...] = (),
) -> int:
    """Start a process in a new session, and return its pid. It gets `death_signal` when this process dies."""

    user = choose_user(unprivileged)
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            env=dict(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherit,
            # No thread of the supervisor holds a lock that the function needs.
            preexec_fn=partial(die_with_parent, death_signal),  # noqa: PLW1509
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
    process.returncode = 0  # `reap` reaps the process, so Popen must neither wait for it nor warn about it
    return process.pid


def fill(command: Command, *, env: Mapping[str, str], log: Path) -> None:
    """Run a command that creates a folder, unless the folder is complete. A folder that a kill left is made again.

    The command ends with this process, so that it never works in the folder that the next one makes.

    Raises:
        AirfleetError: The command fails.
    """
    if command.creates.exists():
        return
    draft = command.creates.with_name(command.creates.name + ".new")
    subprocess.run(["rm", "-rf", str(draft)], check=True)
    draft.mkdir(mode=0o700)
    user = choose_user(command.unprivileged)
    with tempfile.TemporaryFile() as stdin:
        stdin.write(command.stdin.reveal().encode())
        stdin.seek(0)
        if user:
            # The program opens /dev/stdin again, as the other user.
            os.fchown(stdin.fileno(), user.pw_uid, user.pw_gid)
            os.chown(draft, user.pw_uid, user.pw_gid)
        done = subprocess.run(
            [*command.argv, str(draft)],
            env=dict(env),
            stdin=stdin,
            capture_output=True,
            check=False,
            cwd="/",
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            preexec_fn=partial(die_with_parent, signal.SIGKILL),
        )
    with log.open("ab") as output:
        output.write(done.stdout + done.stderr)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        raise AirfleetError(
            f"{Path(command.argv[0]).name} failed: {lines[-1]}",
            where=str(log),
            hint="airfleet doctor",
        )
    draft.rename(command.creates)


def choose_user(unprivileged: bool) -> pwd.struct_passwd | None:
    """Return the user for a program that refuses to run as root, or None to keep the present user."""
    return pwd.getpwnam(UNPRIVILEGED_USER) if unprivileged and os.geteuid() == 0 else None


def reap() -> Iterator[tuple[int, int]]:
    """Yield the pid and exit code of every child that has ended, also of orphans that became children."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def forget_ended(folder: Path) -> None:
    """Remove the notes of sessions of which no process is left."""
    for session in session_notes.read(folder):
        if not session_notes.has_leader(session) and not find_members((session,)):
            for note in folder.rglob(str(session)):
                note.unlink(missing_ok=True)


def find_members(sessions: Collection[int], *, marker: str | None = None) -> list[psutil.Process]:
    """Return the live processes of these sessions, and those with this instance's marker in their environment.

    The process of a task hides its environment, but stays in the session of its component. A program that a task
    started in a new session shows its environment. The result never contains this process.
    """
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.uids().real not in _own_uids():
                continue
            if os.getsid(process.pid) in sessions or (marker and process.environ().get(INSTANCE_VARIABLE) == marker):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def end_server(data: Path) -> None:
    """Kill what is left of the PostgreSQL server of this data folder after its first process has ended.

    Neither a session nor a marker names these: each is in a session of its own, and overwrites its environment. While
    one of them lives, such as a checkpoint on a slow disk, the server refuses to start again. A server whose first
    process lives is one that somebody has started by hand, and stays.

    A server also refuses to start while another program has the process id that it noted, so that note is removed. It
    stays if that program is a PostgreSQL: then the folder may be a copy of its data, made while it wrote.
    """
    note = data / "postmaster.pid"
    first = _read_first(note)
    left = [one for one in psutil.process_iter() if _serves(one, data)]
    if first in [process.pid for process in left]:
        return
    for process in left:
        _signal(process, signal.SIGKILL)
    _, alive = psutil.wait_procs(left, timeout=WRITTEN_S)
    if first and not alive:
        with suppress(OSError):  # nobody has this number, or a program of another user, which PostgreSQL knows itself
            os.kill(first, 0)
            if Path(f"/proc/{first}/comm").read_text() != "postgres\n":
                note.unlink()


def _read_first(note: Path) -> int:
    """Return the process id that PostgreSQL noted, or 0. It notes a negative one in single-user mode."""
    with suppress(OSError, ValueError):
        return abs(int(note.read_text().split("\n", 1)[0]))
    return 0


def _serves(process: psutil.Process, data: Path) -> bool:
    try:
        # By inode: a process of a container may have another folder of this name.
        return process.name() == "postgres" and Path(f"/proc/{process.pid}/cwd").samefile(data)
    except (psutil.Error, OSError):  # it has ended, or is another user's
        return False


def _own_uids() -> tuple[int, ...]:
    return (os.geteuid(), pwd.getpwnam(UNPRIVILEGED_USER).pw_uid) if os.geteuid() == 0 else (os.geteuid(),)


def end(processes: Collection[psutil.Process], *, grace_s: float, first: int = signal.SIGTERM) -> None:
    """End processes: send the signal `first`, wait `grace_s` seconds at most, then send SIGKILL."""
    for process in processes:
        _signal(process, first)
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
