"""Notes of the sessions of a platform: those that its supervisor began, and those of forks of the task image.

A fork writes the note FOLDER/COMPONENT/SESSION before it does anything, and the supervisor ends the session with the
component. A note says when its session began, in ticks since which boot: the number of a session is used again, and
the clock of a laptop jumps.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from airfleet_provider.contract.process_identity import read_boot, read_start


def write(folder: Path, component: str, session: int | None = None) -> None:
    """Note that a session, by default the one that this process leads, works for a component."""
    session = session or os.getpid()
    place = folder / (Path(component).name or "unknown")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = place / f".{session}"
    draft.write_text(f"{read_boot()} {read_start(session)}")
    draft.replace(place / str(session))


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
