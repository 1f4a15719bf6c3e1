"""How the process is confined that reads the content of Airflow 2's database: another user, and no network.

Airflow's own migrations run there on rows that Dag authors could write. A mistake in them should find nothing to take
and nowhere to send it. Where a machine does not allow that, the report says what remains.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airfleet.operations.backup.embedded.cluster import as_server_user

ANOTHER_USER = Path(__file__).with_name("another_user.sh")
# What a Python reads: its own folders, and those of its modules.
_LIST_FOLDERS = "import json, sys; print(json.dumps([sys.prefix, sys.base_prefix, *sys.path]))"
# Whether a Python can be run there, has Airflow, and reads a folder.
_HAS_AIRFLOW = (
    "import importlib.util, os, sys; os.listdir(sys.argv[1]); sys.exit(not importlib.util.find_spec('airflow'))"
)
# Longer paths of sockets are refused by the kernel.
LONGEST_SOCKET = 107
PROBE_S = 120


@dataclass(frozen=True, slots=True)
class ProcessConfinement:
    """What to put before a command, and the arguments of subprocess for it.

    `remains` says in whole sentences what the process may still do, because this machine does not allow better.
    """

    words: tuple[str, ...]
    arguments: Mapping[str, Any]
    has_network: bool
    remains: tuple[str, ...] = ()


def confine(python: Path, home: Path, sockets: Path | None, *, project: Path | None = None) -> ProcessConfinement:
    """Return the strictest way to run a Python with Airflow that works here. The folder `home` is its own.

    `sockets` is where the database has its Unix socket: without one the process needs the network to reach it. With a
    `project`, the process runs its Dags: it has the network, and reads that folder.
    """
    remains = []
    who = "The migration" if project is None else "The Dags"
    for one in _list_ways(python, home, project, without_network=sockets is not None):
        command = [*one.words, str(python), "-I", "-c", _HAS_AIRFLOW, str(project or home)]
        try:
            subprocess.run(command, cwd=home, env={}, capture_output=True, check=True, timeout=PROBE_S, **one.arguments)
        except (OSError, subprocess.SubprocessError):
            continue
        if one.has_network and project is None:
            why = (
                "unshare cannot make it one of its own here"
                if sockets
                else "the path of its database's socket is too long"
            )
            remains.append(f"{who} had this machine's network: {why}.")
        if os.geteuid() == 0 and not _changes_user(one):
            remains.append(f"{who} ran as root, because no other user can run {python}.")
        return ProcessConfinement(one.words, one.arguments, one.has_network, tuple(remains))
    # The command itself will fail, and say why.
    return ProcessConfinement((), {}, has_network=True)


def fits(sockets: Path) -> bool:
    """Return whether PostgreSQL can have a socket in a folder."""
    return len(os.fsencode(sockets / ".s.PGSQL.65535.lock")) <= LONGEST_SOCKET


def _list_ways(
    python: Path, home: Path, project: Path | None, *, without_network: bool
) -> Iterator[ProcessConfinement]:
    """Yield the ways from the strictest to the loosest."""
    user = as_server_user()
    unshare = shutil.which("unshare") if without_network else None
    if unshare and user:
        # One program does both, as only root may make the namespace. It drops the other groups too.
        switch = ("--setgid", str(user["group"]), "--setuid", str(user["user"]))
        yield ProcessConfinement((unshare, "--net", *switch, "--"), {}, has_network=False)
        if words := _open_folders(python, home, home, user):
            yield ProcessConfinement((unshare, "--net", "--mount", "--", *words), {}, has_network=False)
    if unshare and os.geteuid() != 0:
        yield ProcessConfinement((unshare, "--user", "--map-current-user", "--net", "--"), {}, has_network=False)
    if user:
        yield ProcessConfinement((), user, has_network=True)
        program = shutil.which("unshare")
        if program and (words := _open_folders(python, home, project or home, user)):
            yield ProcessConfinement((program, "--mount", "--", *words), {}, has_network=True)
    if unshare and os.geteuid() == 0:
        yield ProcessConfinement((unshare, "--net", "--"), {}, has_network=False)
    yield ProcessConfinement((), {}, has_network=True)


def _open_folders(python: Path, home: Path, project: Path, user: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words that let another user reach a Python in a closed folder, or none if that cannot be."""
    try:
        command = [str(python), "-I", "-c", _LIST_FOLDERS]
        done = subprocess.run(command, env={}, capture_output=True, check=True, timeout=PROBE_S)
    except (OSError, subprocess.SubprocessError):
        return ()
    wanted = [*json.loads(done.stdout), python.parent, ANOTHER_USER.parent, home.parent, project]
    needed = {Path(one).resolve() for one in wanted if Path(one).is_dir()}
    closed = _keep_outermost({found for one in needed if (found := _find_closed(one, user["user"]))})
    opened = _keep_outermost({one for one in needed if any(one.is_relative_to(outer) for outer in closed)})
    # A folder that is open as a whole is not closed, and a colon separates folders.
    if not closed or set(closed) & set(opened) or ":" in "".join(map(str, [*closed, *opened])):
        return ()
    stage = home / "stage"
    stage.mkdir(exist_ok=True)
    lists = (":".join(map(str, closed)), ":".join(map(str, opened)))
    return ("/bin/sh", str(ANOTHER_USER), str(user["user"]), str(user["group"]), str(stage), *lists)


def _keep_outermost(folders: Iterable[Path]) -> list[Path]:
    """Return the folders that lie in none of the others."""
    found: list[Path] = []
    for folder in sorted(folders):
        if not any(folder.is_relative_to(outer) for outer in found):
            found.append(folder)
    return found


def _find_closed(folder: Path, user: int) -> Path | None:
    """Return the outermost folder on the way that a user may not pass, or None. Rights of groups do not count."""
    for one in [*reversed(folder.parents), folder]:
        found = one.stat()
        if not found.st_mode & (stat.S_IXUSR if found.st_uid == user else stat.S_IXOTH):
            return one
    return None


def _changes_user(one: ProcessConfinement) -> bool:
    return "--setuid" in one.words or str(ANOTHER_USER) in one.words or "user" in one.arguments


def list_lines(remains: Sequence[str]) -> Iterator[str]:
    """Yield what remains, for a terminal."""
    if remains:
        yield "not as confined as it could be:"
        yield from (f"  {one}" for one in remains)
    else:
        yield "the migration had no network, and was another user than root"
