"""The operating system's side of supervision: start, wait, signal, and find what was left behind."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from airfleet.components.model import Command
from airfleet.errors import AirfleetError

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
INSTANCE_VARIABLE = "AIRFLEET_INSTANCE"
# PostgreSQL refuses to run as root, so root runs it as this user, which exists everywhere.
UNPRIVILEGED_USER = "nobody"
# The kernel gives starting times in hundredths of a second since boot.
CLOCK_SLACK_S = 1.0


def become_subreaper() -> None:
    """Make this process the parent of every orphan below it, so that no descendant is out of reach."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def start(
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    log: Path,
    unprivileged: bool = False,
    death_signal: int = signal.SIGTERM,
    inherit: tuple[int, ...] = (),
) -> int:
    """The pid of a new process in a session of its own, which gets `death_signal` when this process dies."""

    def ask_for_death_signal() -> None:
        _prctl(PR_SET_PDEATHSIG, death_signal)

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
            preexec_fn=ask_for_death_signal,  # noqa: PLW1509 - the supervisor's threads hold no lock that it takes
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
    process.returncode = 0  # reaped by `reap`; Popen must neither wait for it nor warn about it
    return process.pid


def fill(command: Command, *, log: Path) -> None:
    """Run a command that creates a folder, unless it is there; one that a kill interrupted is made anew."""
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
            # The program opens /dev/stdin anew, as that user.
            os.fchown(stdin.fileno(), user.pw_uid, user.pw_gid)
            os.chown(draft, user.pw_uid, user.pw_gid)
        done = subprocess.run(
            [*command.argv, str(draft)],
            stdin=stdin,
            capture_output=True,
            check=False,
            cwd="/",
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
    with log.open("ab") as output:
        output.write(done.stdout + done.stderr)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise AirfleetError(
            f"{Path(command.argv[0]).name} failed: {lines[-1]}",
            where=str(log),
            hint="airfleet doctor",
        )
    draft.rename(command.creates)


def choose_user(unprivileged: bool) -> pwd.struct_passwd | None:
    """The user to run a program as that refuses to run as root; None to stay who we are."""
    return pwd.getpwnam(UNPRIVILEGED_USER) if unprivileged and os.geteuid() == 0 else None


def reap() -> Iterator[tuple[int, int]]:
    """The pid and exit code of every child that has ended, orphans from below among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def find_leftovers(sessions: Collection[int], *, written: float, marker: str | None) -> list[psutil.Process]:
    """What still lives of the sessions that were written down at that time, or carries this instance's mark.

    A session whose leader began later has only taken over the number, and after a reboot all numbers are new.
    """
    own = [session for session in sessions if not _is_leader_newer(session, written)]
    return find_members(own if psutil.boot_time() < written else (), marker=marker)


def _is_leader_newer(session: int, written: float) -> bool:
    try:
        return psutil.Process(session).create_time() > written + CLOCK_SLACK_S
    except psutil.Error:
        return False


def find_members(sessions: Collection[int], *, marker: str | None = None) -> list[psutil.Process]:
    """The living processes of these sessions, or with this instance in their environment, whoever started them.

    A task's own process hides its environment but stays in its component's session; a program that a task started in
    a new session shows its environment. This process is never among them.
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


def _own_uids() -> tuple[int, ...]:
    return (os.geteuid(), pwd.getpwnam(UNPRIVILEGED_USER).pw_uid) if os.geteuid() == 0 else (os.geteuid(),)


def end(processes: Collection[psutil.Process], *, grace_s: float, first: int = signal.SIGTERM) -> None:
    """End them: a signal, some time, then SIGKILL."""
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
