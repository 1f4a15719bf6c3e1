"""The scripts that ask a host what it is, on this machine, and how their output is read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from airfleet.components.host_model import Folder, HostFile
from airfleet.runners.fleet.plan import facts
from airfleet.runners.fleet.plan.facts import FileFact, Listener, MachineFacts, UnitFact
from airfleet.spec.secrets import Secret
from deadline import PATIENCE_S


def ask_here(script: str) -> str:
    return subprocess.run(
        ["sh", "-s"], input=script, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    ).stdout


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


def test_a_probe_is_read() -> None:
    text = "\n".join(
        [
            "@@airfleet@@ os", "debian", "12", "@@airfleet@@ arch", "x86_64", "@@airfleet@@ cpus", "2",
            "@@airfleet@@ memory", "1024", "@@airfleet@@ init", "systemd", "@@airfleet@@ addresses", "127.0.0.1",
            "10.0.0.1", "@@airfleet@@ ssh", "22", "2222", "@@airfleet@@ space", "/ 100",
            "@@airfleet@@ packages", "sudo", "@@airfleet@@ listeners",
            '0.0.0.0:22 other users:(("sshd",pid=38,fd=3))',
            '0.0.0.0:8880 ours users:(("airflow",pid=7,fd=3))', "[::]:5432 other ",
            "@@airfleet@@ owner", "me", "@@airfleet@@ clock", "1700000000",
        ]
    )  # fmt: skip
    assert facts.parse_probe(text) == MachineFacts(
        ("debian", "12"), "x86_64", 2, 1 << 20, "systemd", ("127.0.0.1", "10.0.0.1"), (22, 2222), {"/": 102400},
        frozenset({"sudo"}), (Listener(22, "sshd", 38),
        Listener(8880, "airflow", 7, is_ours=True), Listener(5432, "", None)), "me", clock=1_700_000_000,
    )  # fmt: skip


def test_an_answer_is_read() -> None:
    text = "\n".join(
        [
            "@@airfleet@@ files", "abc root airfleet 640 /etc/airfleet/a b", "def root root 644 /etc/x\taGVsbG8=",
            "@@airfleet@@ units", "Id=airfleet-a.service", "ActiveState=active", "UnitFileState=enabled",
            "Id=airfleet-b.service", "ActiveState=failed", "UnitFileState=disabled",
            "@@airfleet@@ started", "airfleet-a.service one two", "@@airfleet@@ jobs", "metadata 123",
            "@@airfleet@@ runtimes", "r1", ".new-r2",
        ]
    )  # fmt: skip
    found = facts.parse_answer(text, frozenset({"sudo"}))
    assert found.files["/etc/airfleet/a b"] == FileFact("abc", "root", "airfleet", 0o640)
    assert found.files["/etc/x"].content == "hello"
    assert found.units == {
        "airfleet-a.service": UnitFact("active", "enabled", "one\ntwo"),
        "airfleet-b.service": UnitFact("failed", "disabled", ""),
    }
    assert found.jobs == {"metadata": "123"}
    assert found.runtimes == ("r1",)
