"""How the process is confined that reads the content of Airflow 2's database: another user, and no network.

Airflow's own migrations run there on rows that Dag authors could write. A mistake in them should find nothing to take
and nowhere to send it. Where a machine does not allow that, the report says what remains.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airfleet.operations.backup.embedded.cluster import as_server_user

# Whether a Python can be run there, and has Airflow.
_HAS_AIRFLOW = "import importlib.util, sys; sys.exit(importlib.util.find_spec('airflow') is None)"
# Longer paths of sockets are refused by the kernel.
LONGEST_SOCKET = 107
PROBE_S = 120


@dataclass(frozen=True, slots=True)
class Confinement:
    """What to put before a command, and the arguments of subprocess for it.

    `remains` says in whole sentences what the process may still do, because this machine does not allow better.
    """

    words: tuple[str, ...]
    arguments: Mapping[str, Any]
    has_network: bool
    remains: tuple[str, ...] = ()


def confine(python: Path, home: Path, sockets: Path | None) -> Confinement:
    """Return the strictest way to run a Python with Airflow that works here. The folder `home` is its own.

    `sockets` is where the database has its Unix socket: without one the process needs the network to reach it.
    """
    remains = []
    for one in _list_ways(sockets is not None):
        command = [*one.words, str(python), "-I", "-c", _HAS_AIRFLOW]
        try:
            subprocess.run(command, cwd=home, env={}, capture_output=True, check=True, timeout=PROBE_S, **one.arguments)
        except (OSError, subprocess.SubprocessError):
            continue
        if one.has_network:
            why = (
                "unshare cannot make it one of its own here"
                if sockets
                else "the path of its database's socket is too long"
            )
            remains.append(f"The migration had this machine's network: {why}.")
        if os.geteuid() == 0 and not _changes_user(one):
            remains.append(f"The migration ran as root, because no other user can run {python}.")
        return Confinement(one.words, one.arguments, one.has_network, tuple(remains))
    # The command itself will fail, and say why.
    return Confinement((), {}, has_network=True)


def fits(sockets: Path) -> bool:
    """Return whether PostgreSQL can have a socket in a folder."""
    return len(os.fsencode(sockets / ".s.PGSQL.65535.lock")) <= LONGEST_SOCKET


def _list_ways(without_network: bool) -> Iterator[Confinement]:
    """Yield the ways from the strictest to the loosest."""
    user = as_server_user()
    unshare = shutil.which("unshare") if without_network else None
    if unshare and user:
        # One program does both, as only root may make the namespace. It drops the other groups too.
        switch = ("--setgid", str(user["group"]), "--setuid", str(user["user"]))
        yield Confinement((unshare, "--net", *switch, "--"), {}, has_network=False)
    if unshare and os.geteuid() != 0:
        yield Confinement((unshare, "--user", "--map-current-user", "--net", "--"), {}, has_network=False)
    if user:
        yield Confinement((), user, has_network=True)
    if unshare and os.geteuid() == 0:
        yield Confinement((unshare, "--net", "--"), {}, has_network=False)
    yield Confinement((), {}, has_network=True)


def _changes_user(one: Confinement) -> bool:
    return "--setuid" in one.words or "user" in one.arguments


def list_lines(remains: Sequence[str]) -> Iterator[str]:
    """Yield what remains, for a terminal."""
    if remains:
        yield "not as confined as it could be:"
        yield from (f"  {one}" for one in remains)
    else:
        yield "the migration had no network, and was another user than root"
