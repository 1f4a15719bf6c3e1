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
# Not the folder in which services say what they were started with, as `airfleet plan` reads every file of that one.
WORDS = Path("/run/airfleet-commands")
TERM = re.compile(r"[\w.+-]+")
# Airflow's command with the words of a file, which it removes. Every user of a host can read a process's arguments.
# What is in the working folder is no module of Python's, as for the command `airflow`.
LAUNCH = (
    "import sys; sys.path[:] = filter(None, sys.path); import json, os; path = sys.argv[1]; "
    'sys.argv = ["airflow", *json.load(open(path))]; os.unlink(path); '
    "from airflow.__main__ import main; sys.exit(main())"
)
# A service that SIGHUP, SIGINT or SIGTERM ends has succeeded for systemd, and systemd-run then exits with 0. This shell
# outlives them and exits with 128 and the number of the signal, as a command in a shell does.
RUN = 'trap : HUP INT TERM; "$@"; exit $?'


def choose(fleet: Fleet, name: str | None) -> tuple[Host, ...]:
    """The scheduler hosts to try in turn, or the one that was named; raises UsageError where it is none."""
    hosts = fleet.with_role("scheduler")
    if name is None:
        return hosts
    chosen = tuple(host for host in hosts if host.name == name)
    if not chosen:
        known = ", ".join(host.name for host in hosts)
        raise UsageError(f"{name!r} is no scheduler host", hint=f"there are: {known}")
    return chosen


def reach(hosts: Iterable[Host], project: Path, notify: Callable[[str], None]) -> HostConnection:
    """A connection to the first host that answers; raises HostError when none does."""
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
    """Run one command there as the service's user; its exit code."""
    is_terminal = terminal.is_terminal()
    name = f"airfleet-command-{token}.service"
    script = build_script(name, term=os.environ.get("TERM", "") if is_terminal else None)

    def interrupt(signal: str) -> None:
        connection.run(build_interrupt(signal, name), timeout_s=20)

    left = connection.run(build_words(arguments, name), timeout_s=20)
    if left.code == NOT_SET_UP:
        raise HostError("no scheduler is set up there yet", where=connection.host.name, hint="airfleet apply")
    if left.code:
        raise HostError(f"cannot leave the command there: {left.err.strip()}", where=connection.host.name)
    return terminal.attach(connection, script, terminal=is_terminal, interrupt=interrupt)


def find_words(name: str) -> Path:
    """Where the words of a command are on its host, for its own user, until it has read them."""
    return WORDS / f"{name}.json"


def build_words(arguments: Sequence[str], name: str) -> str:
    """Return a script, read from standard input, that leaves the words of a command on its host."""
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
    """Return a script that gives a signal to a command, also to one whose unit is only about to start."""
    return render_script(__package__, "interrupt_command", UNIT=name, SIGNAL=signal, WORDS=find_words(name))


def build_script(name: str, *, term: str | None) -> str:
    """A script that runs Airflow with the words that were left there, in a unit that ends with all that it has started.

    The environment and the user are those of the installed scheduler: what the host runs, not what fleet.yaml wants of
    it. systemd reads the secrets among them from their files. With `term` it has a terminal. The exit code is the
    command's, or 128 and the number of the signal that ended it; it is never 0 after a signal that nobody caught.
    """
    # A signal may come before the shell of RUN does: a failure here says that the unit has not exited by itself.
    # It has the rights of the service's user: systemd 252 forgets an ExecStopPost with more when it reads units anew.
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
    """A script in a command line of systemd, which itself replaces variables."""
    return script.replace("$", "$$")
