"""The scripts that ask a host what it is, on this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from airfleet.components.host_model import Folder, HostFile
from airfleet.runners.fleet.plan import facts
from airfleet.spec.secrets import Secret


def ask_here(script: str) -> str:
    return subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True, timeout=60).stdout


def test_this_machine_tells_what_it_is() -> None:
    probe = facts.parse_probe(ask_here(facts.build_probe("127.0.0.1")))
    assert (probe.arch, probe.named) == (os.uname().machine, ("127.0.0.1",))
    assert probe.clock
    assert probe.memory > 0
    assert "/" in probe.free
    assert all(probe.os)


def test_a_file_is_shown_only_where_it_differs_and_is_no_secret(tmp_path: Path) -> None:
    def write(name: str, wanted: str | Secret) -> HostFile:
        (tmp_path / name).write_text("here\n")
        return HostFile(tmp_path / name, wanted, mode=0o644)

    files = (write("same", "here\n"), write("other", "there\n"), write("secret", Secret("there\n")))
    missing = HostFile(tmp_path / "it's missing", "x")
    folders = (Folder(tmp_path), Folder(tmp_path / "none"))
    found = facts.parse_answer(ask_here(facts.build_question((*files, missing), folders, ("root",), ())), frozenset())
    assert {Path(path).name: fact.content for path, fact in found.files.items()} == {
        "same": None,
        "other": "here\n",
        "secret": None,
    }
    assert found.files[str(tmp_path / "same")].digest == files[0].digest
    assert found.folders.keys() == {str(tmp_path)}
    assert found.users == {"root"}
