"""Run Airflow's own command line on a scheduler host, with the configuration of the scheduler there."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from airfleet.components.host_model import LIB, OPT
from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.fleet.plan.systemd_units import FOLDER
from airfleet.runners.fleet.transport import terminal
from airfleet.runners.fleet.transport.connection import HostConnection, HostError
from airfleet.shell_script import render_script
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host

UNIT = f"{FOLDER}/airfleet-scheduler.service"
NOT_SET_UP = 97
# This is not the folder with the fingerprints of services, because `airfleet plan` reads every file in that one.
WORDS = Path("/run/airfleet-commands")
TERM = re.compile(r"[\w.+-]+")
# Runs Airflow's command with the arguments in a file, and deletes the file: every user of a host can read the arguments
# of a process. As with the command `airflow`, Python does not import modules from the working folder.
LAUNCH = (
    "import sys; sys.path[:] = filter(None, sys.path); import json, os; path = sys.argv[1]; "
    'sys.argv = ["airflow", *json.load(open(path))]; os.unlink(path); '
    "from airflow.__main__ import main; sys.exit(main())"
)
# For systemd, a service that SIGHUP, SIGINT or SIGTERM ends has succeeded, and systemd-run then exits with 0. This
# shell survives those signals and exits with 128 plus the number of the signal, as shells do.
RUN = 'trap : HUP INT TERM; "$@"; exit $?'


def choose(fleet: Fleet, name: str | None) -> tuple[Host, ...]:
    """Return the scheduler hosts to try in turn, or the host with this name.

    Raises:
        UsageError: No scheduler host has this name.
    """
    hosts = fleet.with_role("scheduler")
    if name is None:
        return hosts
    chosen = tuple(host for host in hosts if host.name == name)
    if not chosen:
        known = ", ".join(host.name for host in hosts)
        raise UsageError(f"{name!r} is not a scheduler host", hint=f"the scheduler hosts are: {known}")
    return chosen


def reach(hosts: Iterable[Host], project: Path, notify: Callable[[str], None]) -> HostConnection:
    """Return a connection to the first host that answers.

    Raises:
        HostError: No host answers; it is the error of the last one.
    """
    failed: HostError | None = None
    for host in hosts:
        connection = HostConnection(host, project)
        try:
            connection.open()
        except HostError as error:
            connection.close()
            if failed is not None:
                notify(f"{failed.where}: {failed.what}")
            failed = error
            continue
        if failed is not None:
            notify(f"{failed.where}: {failed.what}; {host.name} does it")
        return connection
    raise failed or AirfleetError("no host to ask")


def run(connection: HostConnection, arguments: Sequence[str], *, token: str) -> int:
    """Run one command of Airflow on the host as the scheduler's user, and return its exit code.

    Raises:
        HostError: The host has no scheduler yet, or the command cannot be sent.
    """
    is_terminal = terminal.is_terminal()
    name = f"airfleet-command-{token}.service"
    script = build_script(name, term=os.environ.get("TERM", "") if is_terminal else None)

    def interrupt(signal: str) -> None:
        connection.run(build_interrupt(signal, name), timeout_s=20)

    try:
        left = connection.run(build_words(arguments, name), timeout_s=20)
        if left.code == NOT_SET_UP:
            raise HostError("no scheduler is set up there yet", where=connection.host.name, hint="airfleet apply")
        if left.code:
            raise HostError(f"cannot leave the command there: {left.err.strip()}", where=connection.host.name)
        return terminal.attach(connection, script, terminal=is_terminal, interrupt=interrupt)
    except KeyboardInterrupt:
        # It came before `attach` passes interrupts on, so no unit deletes the file.
        connection.run(f"rm -f {shlex.quote(str(find_words(name)))}", timeout_s=20)
        raise


def find_words(name: str) -> Path:
    """Return the file with the arguments of a command on its host. The command deletes it after it has read it."""
    return WORDS / f"{name}.json"


def build_words(arguments: Sequence[str], name: str) -> str:
    """Return a script that writes the arguments of a command to a file on its host. It is read from standard input."""
    return render_script(
        __package__,
        "leave_words",
        SCHEDULER=UNIT,
        NOT_SET_UP=NOT_SET_UP,
        FOLDER=WORDS,
        FILE=find_words(name),
        KEEP=render_script(__package__, "keep_words"),
        WORDS=json.dumps(list(arguments)),
    )


def build_interrupt(signal: str, name: str) -> str:
    """Return a script that sends a signal to a command, and first waits until the unit of the command has a process."""
    return render_script(__package__, "interrupt_command", UNIT=name, SIGNAL=signal, WORDS=find_words(name))


def build_script(name: str, *, term: str | None) -> str:
    """Return a script that runs Airflow with the arguments in the file of `build_words`.

    The command runs in a unit of systemd, which ends with all processes that the command started. The environment and
    the user are those of the installed scheduler, not those of fleet.yaml. systemd reads secrets from their files. With
    `term`, the command has a terminal. The exit code is the command's, or 128 plus the number of the signal that ended
    the command. It is never 0 after a signal that the command did not catch.
    """
    # A signal may come before the shell of RUN starts. Then this command fails, and the unit counts as failed.
    # It runs as the service's user: systemd 252 forgets an ExecStopPost with more rights when it reloads its units.
    after = shlex.quote(_escape(f'rm -f {find_words(name)}; [ "$EXIT_CODE" = exited ]'))
    options = (
        "--pipe" if term is None else "--pty",
        *((f"--setenv=TERM={term}",) if term and TERM.fullmatch(term) else ()),
        f"--unit={name}",
        "--description=airfleet airflow",
        f"--property=WorkingDirectory={LIB}/server",
        "--property=NoNewPrivileges=yes",
        f"--property=ExecStopPost=/bin/sh -c {after}",
    )
    return render_script(
        __package__,
        "run_command",
        OPT=OPT,
        SCHEDULER=UNIT,
        OPTIONS="\n".join(options),
        RUN=_escape(RUN),
        LAUNCH=LAUNCH,
        WORDS=find_words(name),
    )


def _escape(script: str) -> str:
    """Escape a script for a command line of systemd, which expands variables and specifiers itself."""
    return script.replace("$", "$$")
