"""Notes say which sessions end with a component, and never name a session of another that has the same number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from airfleet.runners.local import processes
from airfleet_provider.contract import session_notes

WRITE = (
    "import sys; from pathlib import Path; from airfleet_provider.contract import session_notes; "
    "session_notes.write(Path(sys.argv[1]), 'scheduler')"
)


def test_a_note_counts_as_long_as_a_process_of_its_session_is_left(tmp_path: Path) -> None:
    code = f"{WRITE}; import subprocess; print(subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL).pid)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout
        left = psutil.Process(int(leader.stdout.readline()))
    assert session_notes.read(tmp_path / "scheduler") == session_notes.read(tmp_path) == (leader.pid,)
    processes.forget_ended(tmp_path)
    found = processes.find_members(session_notes.read(tmp_path))
    assert [one.pid for one in found] == [left.pid]
    processes.end(found, grace_s=5)
    processes.forget_ended(tmp_path)
    assert list((tmp_path / "scheduler").iterdir()) == []


def test_a_note_of_another_process_or_boot_does_not_count(tmp_path: Path) -> None:
    session_notes.write(tmp_path, "scheduler")
    note = tmp_path / "scheduler" / str(os.getpid())
    boot, start = note.read_text().split()
    assert session_notes.read(tmp_path) == (os.getpid(),)
    for other in (f"{boot} {int(start) - 1}", f"another {start}", boot, ""):
        note.write_text(other)
        assert session_notes.read(tmp_path) == (), other


def test_a_platform_without_notes_has_none(tmp_path: Path) -> None:
    assert session_notes.read(tmp_path / "none") == ()
    processes.forget_ended(tmp_path / "none")
