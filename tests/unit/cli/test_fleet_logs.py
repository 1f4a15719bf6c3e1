"""`airfleet logs` in the project of a fleet: the journals of its hosts."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airfleet.errors import UsageError
from airfleet.runners.fleet import journals
from airfleet.runners.fleet.transport.connection import HostError
from host_programs import install
from places import parse


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        (journals.JournalQuery(), ["--lines=50", "--unit=airfleet-a.service", "--unit=airfleet-worker-x.service"]),
        (journals.JournalQuery("a", 7), ["--lines=7", "--unit=airfleet-a.service"]),
        (
            journals.JournalQuery("a", 7, "1 hour ago; reboot"),
            ["--since=1 hour ago; reboot", "--unit=airfleet-a.service"],
        ),
    ],
)
def test_journalctl_is_asked_for_the_units_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: journals.JournalQuery, wanted: Sequence[str]
) -> None:
    for name in ("airfleet-a.service", "airfleet-worker-x.service", "other.service"):
        (tmp_path / name).touch()
    monkeypatch.setattr(journals, "FOLDER", str(tmp_path))
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    environment = install(bin_, journalctl='for word in "$@"; do echo "$word"; done')
    done = subprocess.run(
        ["sh", "-c", journals.build_script(question)], env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert set(wanted) <= set(lines)
    assert {line for line in lines if line.startswith("--unit")} == {one for one in wanted if one.startswith("--unit")}


def test_a_journal_that_is_followed_ends_with_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "airfleet-a.service").touch()
    monkeypatch.setattr(journals, "FOLDER", str(tmp_path))
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    environment = install(bin_, journalctl="echo begun; exec sleep 600")
    script = journals.build_script(journals.JournalQuery(follow=True))
    with subprocess.Popen(
        ["sh", "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "begun\n"
        process.stdin.close()
        assert process.stdout.read() == "", "sleep is gone too, as it held the output"


@dataclass
class Channel:
    """A host's answer, in pieces that may end at any byte."""

    pieces: list[bytes]
    code: int = 0

    def shutdown_write(self) -> None:
        return

    def recv(self, _: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def recv_stderr(self, _: int) -> bytes:
        return b""

    def recv_exit_status(self) -> int:
        return self.code


def read(answers: dict[str, Channel | str], question: journals.JournalQuery) -> tuple[list[str], list[str]]:
    class Fake:
        def __init__(self, host: Any, _: Path) -> None:  # noqa: ANN401
            self.host = host

        def open(self) -> None:
            if isinstance(told := answers[self.host.name], str):
                raise HostError(told, where=self.host.name)

        def close(self) -> None:
            return

        def start(self, _: str) -> Any:  # noqa: ANN401
            return answers[self.host.name]

    lines: list[str] = []
    hosts = journals.choose(parse(), list(answers))
    connect: Any = Fake
    errors = journals.show(
        hosts, Path(), question, write=lambda host, line: lines.append(f"{host}: {line}"), connect=connect
    )
    return lines, [f"{error.where}: {error.what}" for error in errors]


def test_lines_are_whole_each_with_its_host_and_a_silent_host_is_named() -> None:
    answers: dict[str, Channel | str] = {
        "sched1": Channel([b"o", b"ne\ntw", b"o\n"]),
        "sched2": Channel([b"", b"x"][1:]),
        "web1": "does not answer",
    }
    lines, errors = read(answers, journals.JournalQuery())
    assert sorted(lines) == ["sched1: one", "sched1: two", "sched2: x"]
    assert errors == ["web1: does not answer"]


def test_a_component_that_no_host_has_is_wrong_usage_and_one_that_some_have_is_not() -> None:
    missing = Channel([b"api-server\nbalancer\n"], journals.NO_SUCH_UNIT)
    found = Channel([b"line\n"])
    lines, _ = read({"web1": missing, "sched1": found}, journals.JournalQuery("scheduler"))
    assert lines == ["sched1: line"]
    again = Channel([b"api-server\nbalancer\n"], journals.NO_SUCH_UNIT)
    with pytest.raises(UsageError, match=r"(?s)no component 'nobody'.*api-server, balancer"):
        read({"web1": again}, journals.JournalQuery("nobody"))
    with pytest.raises(UsageError, match="cannot be the name of a component"):
        read({"web1": again}, journals.JournalQuery("a; reboot"))
    with pytest.raises(UsageError, match="no host 'nobody'"):
        journals.choose(parse(), ["nobody"])
