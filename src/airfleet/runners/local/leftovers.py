"""What is left of a platform whose supervisor has gone."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

from airfleet.runners.local import processes
from airfleet.runners.local.usage import is_alive
from airfleet.workspace.state_folder import Snapshot, StateFolder
from airfleet_provider.contract import session_notes

# A supervisor that was killed closes its files, and with them the lock of its folder, a moment before it has ended.
ENDING_S = 1.0


def find(folder: StateFolder) -> list[psutil.Process]:
    """Return the live processes of the platform of this folder, for the process that holds the folder.

    A copy of a folder has the notes of the platform whose folder was copied. Their sessions are not of the copy: their
    supervisor lives, although it does not hold the copy.
    """
    previous, marker = folder.read_snapshot(), folder.name_processes()
    is_copy = previous and previous.supervisor != os.getpid() and _stays_alive(previous)
    noted = () if is_copy else session_notes.read(folder.sessions)
    return processes.find_members(noted, marker=marker)


def _stays_alive(snapshot: Snapshot) -> bool:
    if is_alive(snapshot):
        with suppress(psutil.Error):
            psutil.wait_procs([psutil.Process(snapshot.supervisor)], timeout=ENDING_S)
    return is_alive(snapshot)
