"""Notes of sessions that belong to a component of the platform, though no process of the component began them.

A fork of the task image writes the note FOLDER/COMPONENT/SESSION before it does anything. The platform's supervisor
ends the session with the component. A note says when its session began, in ticks since which boot: the number of a
session is used again, and the clock of a laptop jumps.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from airfleet_provider.contract.process_identity import read_boot, read_start


def write(folder: Path, component: str) -> None:
    """Note that this process, the leader of its session, works for a component."""
    place = folder / (Path(component).name or "unknown")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = place / f".{os.getpid()}"
    draft.write_text(f"{read_boot()} {read_start(os.getpid())}")
    draft.replace(place / str(os.getpid()))


def read(folder: Path) -> tuple[int, ...]:
    """Return the sessions noted in this folder or below it, also those whose leader has ended."""
    found = []
    for note in sorted(folder.rglob("*")):
        with suppress(OSError, ValueError):
            session = int(note.name)
            boot, start = note.read_text().split()
            if boot == read_boot() and read_start(session) in (None, int(start)):
                found.append(session)
    return tuple(found)


def has_leader(session: int) -> bool:
    """Return whether the process that began a session still runs."""
    return read_start(session) is not None
