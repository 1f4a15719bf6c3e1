"""The journals of a fleet's services, read from all hosts at once over SSH."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.fleet.plan.systemd_units import FOLDER
from airfleet.runners.fleet.transport.connection import CHUNK, HostConnection, HostError
from airfleet.shell_script import render_script
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host

COMPONENT = re.compile(r"[\w.-]+")
NO_SUCH_UNIT = 96
BAD_TIME = 95
MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class JournalQuery:
    """The lines to show: of one component or all, the last `lines`, since a time, and with `follow` new ones too."""

    component: str | None = None
    lines: int = 50
    since: str | None = None
    follow: bool = False


def choose(fleet: Fleet, names: Sequence[str]) -> tuple[Host, ...]:
    """Return the hosts with these names, or all hosts if there are no names.

    Raises:
        UsageError: A name is unknown.
    """
    known = {host.name: host for host in fleet.hosts}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"no host {unknown[0]!r} in this fleet", hint=f"the hosts are: {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names)) or fleet.hosts


def build_script(question: JournalQuery) -> str:
    """Return a script that prints the journal of airfleet's units. With `follow`, it runs until its input ends."""
    return render_script(
        __package__,
        "show_journal",
        FOLDER=FOLDER,
        COMPONENT=question.component or "",
        LAST=question.lines,
        SINCE=question.since or "",
        FOLLOW="1" if question.follow else "",
        NO_SUCH_UNIT=NO_SUCH_UNIT,
        BAD_TIME=BAD_TIME,
    )


def show(
    hosts: Sequence[Host],
    project: Path,
    question: JournalQuery,
    *,
    write: Callable[[str, str], None],
    connect: Callable[[Host, Path], HostConnection] = HostConnection,
) -> tuple[AirfleetError, ...]:
    """Call `write` with every line of every host and the name of the host. Return the errors of hosts.

    Without `follow`, the lines of a host come together, because the clocks of two hosts are not compared.

    Raises:
        UsageError: No host has such a component.
    """
    if question.component and not COMPONENT.fullmatch(question.component):
        raise UsageError(f"{question.component!r} cannot be the name of a component", hint="airfleet logs --help")
    lock = threading.Lock()
    script = build_script(question)
    connections: list[HostConnection] = []
    is_over = threading.Event()

    def read(host: Host) -> list[str]:
        connection = connect(host, project)
        try:
            connection.open()
            connections.append(connection)
            if is_over.is_set():
                return []
            return _read(connection, script, question, lock, lambda line: write(host.name, line))
        finally:
            connection.close()

    errors: list[AirfleetError] = []
    known: set[str] = set()
    answered = missing = 0
    with ThreadPoolExecutor(min(MOST_AT_ONCE, len(hosts))) as pool:
        try:
            for future in [pool.submit(read, host) for host in hosts]:
                try:
                    names = future.result()
                except UsageError:
                    raise
                except AirfleetError as error:
                    errors.append(error)
                    continue
                answered += 1
                missing += bool(names)
                known |= set(names)
        finally:
            # Followed journals never stop writing, so the connections are closed here, and the threads end.
            is_over.set()
            for connection in tuple(connections):
                connection.close()
    if question.component and answered and missing == answered and known:
        raise UsageError(
            f"no component {question.component!r} on these hosts", hint=f"there are: {', '.join(sorted(known))}"
        )
    return tuple(errors)


def _read(
    connection: HostConnection, script: str, question: JournalQuery, lock: threading.Lock, write: Callable[[str], None]
) -> list[str]:
    """Write the lines as they come. If the host has no such component, return the components that it has."""
    channel = connection.start(script)
    if not question.follow:
        channel.shutdown_write()
    held: list[str] = []
    said: list[str] = []

    def tell(line: str) -> None:
        if question.follow:
            with lock:
                write(line)
        else:
            held.append(line)

    for line in _lines(channel):
        tell(line)
    while data := channel.recv_stderr(CHUNK):
        said.append(data.decode(errors="replace"))
    code = channel.recv_exit_status()
    if code == NO_SUCH_UNIT:
        return held or ["nothing"]
    if code == BAD_TIME:
        raise UsageError(f"--since {question.since!r} is not a time", hint='write it as for journalctl: "1 hour ago"')
    if code:
        what = "".join(said).strip().splitlines() or [f"exit code {code}"]
        raise HostError(f"its journal cannot be read: {what[-1]}", where=connection.host.name)
    with lock:
        for line in held:
            write(line)
    return []


def _lines(channel: Any) -> Iterable[str]:  # noqa: ANN401 - paramiko has no types
    rest = b""
    while data := channel.recv(CHUNK):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
