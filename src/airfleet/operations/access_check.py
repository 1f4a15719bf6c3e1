"""The self-test of `access.login`, run where users log in: here, or on each web host of a fleet."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.fleet.plan.systemd_units import FOLDER
from airfleet.runners.fleet.transport.connection import HostConnection, HostError
from airfleet.shell_script import render_script
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import resolve_directory
from airfleet_provider.contract.directory import CALLBACK, CheckStep

PROGRAM = "airfleet_provider.access.directory_check"
UNIT = f"{FOLDER}/airfleet-api-server.service"
NOT_SET_UP = 97
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class HostCheck:
    """What the self-test of one host found. The host of a platform on one machine has no name."""

    host: str
    steps: tuple[CheckStep, ...]


def ask(fleet: Fleet, project: Path, user: str) -> str:
    """Return the question for the self-test, which holds a secret.

    Raises:
        UsageError: fleet.yaml has no `access.login`, or the secret cannot be fetched.
    """
    directory = resolve_directory(fleet, project)
    if directory is None:
        hint = "name a directory or an OpenID provider there; `airfleet docs` shows how"
        raise UsageError("fleet.yaml has no `access.login`", hint=hint)
    base_url = fleet.public_url if fleet.hosts else f"http://localhost:{fleet.ports.api}"
    question = {
        "directory": json.loads(directory.reveal()),
        "user": user,
        "callback": f"{base_url}{CALLBACK}",
    }
    return json.dumps(question)


def check_here(question: str) -> HostCheck:
    """Run the self-test on this machine.

    Raises:
        AirfleetError: It does not run.
    """
    # -P: no module of the folder that the user is in takes the place of another.
    done = subprocess.run(
        [sys.executable, "-P", "-m", PROGRAM],
        input=question,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return HostCheck("", _read(done.returncode, done.stdout, done.stderr, "this machine"))


def check_hosts(fleet: Fleet, project: Path, question: str, name: str | None) -> Iterator[HostCheck]:
    """Run the self-test on each web host, or on the one of this name; a host that does not answer has one step.

    Raises:
        UsageError: No web host has this name.
    """
    hosts = [one for one in fleet.with_role("web") if name in (None, one.name)]
    if not hosts:
        known = ", ".join(one.name for one in fleet.with_role("web"))
        raise UsageError(f"{name!r} is not a web host", hint=f"the web hosts are: {known}")
    for host in hosts:
        connection = HostConnection(host, project)
        try:
            connection.open()
            yield HostCheck(host.name, _ask_host(connection, question))
        except HostError as error:
            yield HostCheck(host.name, (CheckStep(error.what, False, hint=error.hint or "airfleet doctor"),))
        finally:
            connection.close()


def _ask_host(connection: HostConnection, question: str) -> tuple[CheckStep, ...]:
    words = {"UNIT": UNIT, "NOT_SET_UP": NOT_SET_UP, "PROGRAM": PROGRAM}
    script = render_script(__package__, "check_login", **words)
    # The question goes through standard input: every user of a host can read the arguments of a process.
    found = connection.run(script, timeout_s=TIMEOUT_S, data=io.BytesIO(question.encode()))
    if found.code == NOT_SET_UP:
        raise HostError("no api-server is set up there yet", where=connection.host.name, hint="airfleet apply")
    return _read(found.code, found.out, found.err, connection.host.name)


def _read(code: int, out: str, err: str, where: str) -> tuple[CheckStep, ...]:
    lines = out.splitlines()
    if code or not lines:
        last = (err.strip().splitlines() or [f"exit code {code}"])[-1]
        hint = "the packages there may be older: airfleet apply, or airfleet up"
        raise AirfleetError(f"the self-test does not run: {last[:300]}", where=where, hint=hint)
    return tuple(CheckStep(**one) for one in json.loads(lines[-1]))
