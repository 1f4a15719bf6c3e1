"""The lines of the journal are in the index once, as lines of the component whose unit wrote them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from airfleet_provider.log_agent.journal import JournalError
from airfleet_provider.log_index.store import LogStoreError
from deadline import wait_until
from log_hosts import LogHost

# A journalctl for tests: it prints the lines of a file after that with the cursor, and goes on for ever.
PROGRAM = """
import json, sys, time
path, begin = sys.argv[1], next((one for one in sys.argv if one.startswith("--after-cursor=")), "")
found = not begin
for line in open(path):
    if found:
        print(line, end="", flush=True)
    found = found or json.loads(line)["__CURSOR"] == begin.partition("=")[2]
if line.startswith("{}"):
    sys.exit(3)
time.sleep(60)
"""


class JournalHost(LogHost):
    """A host whose components write to a journal, which is a file of entries."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.file = root / "journal.json"
        self.file.touch()
        self.number = 0
        program = root / "journalctl.py"
        program.write_text(PROGRAM)
        super().__init__(root, journal=(sys.executable, str(program), str(self.file)))

    def log(self, message: object, unit: str = "airfleet-scheduler.service", **more: str) -> None:
        self.number += 1
        body = {
            "__CURSOR": f"s=abc;i={self.number:x};b=1;m=1;t=1;x=1",
            "__REALTIME_TIMESTAMP": str(1_796_000_000_000_000 + self.number),
            "_SYSTEMD_UNIT": unit,
            "MESSAGE": message,
            "PRIORITY": "6",
            **more,
        }
        with self.file.open("a") as file:
            file.write(json.dumps(body) + "\n")

    def take_all(self, count: int) -> list[str]:
        """Take turns until so many lines are there, and return them."""

        def look() -> bool:
            self.agent.hurry()
            self.agent.turn()
            return len(self.texts()) >= count

        wait_until(look, f"{count} lines", every_s=0.01)
        return self.texts()


@pytest.fixture
def host(tmp_path: Path) -> JournalHost:
    return JournalHost(tmp_path / "host")


def test_an_entry_is_a_line_of_its_component(host: JournalHost) -> None:
    host.log("not ours", unit="ssh.service")
    host.log("2026-11-29T05:27:58Z [warning  ] the pool is full [airflow.jobs]")
    host.log("Started it.", unit="init.scope", UNIT="airfleet-worker-cpu.service")
    host.log("It failed.", unit="init.scope", UNIT="airfleet-worker-cpu.service", PRIORITY="3")
    host.log([104, 105, 255], unit="airfleet-etcd.service")
    host.take_all(4)
    host.agent.give_up()
    found = {(hit.origin.component, hit.level, hit.text.partition("] ")[2] or hit.text) for hit in host.search()}
    assert found == {
        ("scheduler", "warning", "the pool is full [airflow.jobs]"),
        ("worker-cpu", "info", "Started it."),
        ("worker-cpu", "error", "It failed."),
        ("etcd", "info", "hi\ufffd"),
    }


def test_a_traceback_in_the_journal_is_an_error_as_a_whole(host: JournalHost) -> None:
    for line in ("2026-11-29T05:27:58Z [info     ] up [a]", "Traceback (most recent call last):", "KeyError: 'rows'"):
        host.log(line)
    host.take_all(3)
    host.agent.give_up()
    assert [hit.text[:8] for hit in host.search(levels=("error",))] == ["Tracebac", "KeyError"]


def test_what_a_worker_prints_of_a_task_is_left_out(host: JournalHost) -> None:
    host.log("2026-11-29T05:27:58Z [info ] rows ti_id=1 try_number=1 task_id=a", unit="airfleet-worker-cpu.service")
    host.log("2026-11-29T05:27:58Z [info ] ready", unit="airfleet-worker-cpu.service")
    assert len(host.take_all(1)) == 1
    host.agent.give_up()


def test_each_entry_is_kept_once_over_failures_and_deaths(host: JournalHost) -> None:
    host.log("one")
    host.take_all(1)
    host.log("two")
    host.writer.fail_before_commit = True
    host.agent.give_up()
    with pytest.raises(LogStoreError):
        host.take_all(2)
    # What the process does after a turn that failed.
    host.writer.close()
    host.agent.give_up()
    host.writer.fail_before_commit = False
    host.take_all(2)
    # After kill -9 the cursor on the disk may be behind the index.
    host.agent._positions.write_cursor("")
    host.agent.give_up()
    host.restart()
    host.log("three")
    host.agent.give_up()
    assert host.take_all(3) == ["one", "two", "three"]
    host.agent.give_up()


def test_an_end_of_journalctl_is_an_error_and_it_is_started_again(host: JournalHost) -> None:
    host.log("one")
    with host.file.open("a") as file:
        file.write("{}")
    with pytest.raises(JournalError):
        host.take_all(2)
    host.file.write_text(host.file.read_text().removesuffix("{}"))
    host.agent.give_up()
    assert host.take_all(1) == ["one"]
    host.agent.give_up()


def test_a_journal_that_cannot_be_read_stops_no_line_of_a_task(host: JournalHost) -> None:
    host.file.write_text("{}")
    host.print("a line of a task")
    with pytest.raises(JournalError):
        host.take_all(2)
    assert host.texts() == ["a line of a task"]
    host.agent.give_up()
