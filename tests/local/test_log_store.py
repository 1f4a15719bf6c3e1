"""A log agent and a log store as processes: each line is kept once, though both are killed while lines are written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airfleet.operations.machines import look_at_log_agent
from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from airfleet_provider.contract import environment, log_store_config
from airfleet_provider.contract.log_agent_config import LogAgentKey
from airfleet_provider.log_index.remote import Proof, RemoteLogReader
from airfleet_provider.log_index.store import LogQuery, LogStoreError
from deadline import PATIENCE_S, wait_until
from log_hosts import TRY, make_event

pytestmark = pytest.mark.local

TOKEN = "token"
LINES = 300
KILLS = 6


class Process:
    """A process of airfleet that a test kills and starts anew."""

    def __init__(self, module: str, variable: str, config: Path, content: Mapping[str, object]) -> None:
        config.write_text(json.dumps(content))
        self._command = [sys.executable, "-m", module]
        self._environment = {**os.environ, variable: str(config)}
        self._errors = config.with_suffix(".err")
        self.start()

    def start(self) -> None:
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(self._command, env=self._environment, stderr=errors)

    def kill(self, number: int = signal.SIGKILL) -> int:
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_S)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[tuple[Process, Process, RemoteLogReader]]:
    now = datetime.now(UTC)
    authority = certificate_authority.load(certificate_authority.create("fleet", now), where="")
    (tmp_path / "ca.pem").write_text(authority.pem)
    held = certificate_authority.issue(authority, "host1", ("127.0.0.1",), now)
    (tmp_path / "host.pem").write_text(held.certificate)
    (tmp_path / "host.key").write_text(held.key.reveal())
    store_port, agent_port = ports.find_several(2)
    files = {name: str(tmp_path / f"host.{end}") for name, end in (("certificate", "pem"), ("key", "key"))}
    files["authorities"] = str(tmp_path / "ca.pem")
    store = Process(
        "airfleet_provider.log_store",
        environment.LOG_STORE,
        tmp_path / "store.json",
        {
            log_store_config.LogStoreKey.SERVER: {"address": "127.0.0.1", "port": store_port, **files},
            log_store_config.LogStoreKey.INDEX: str(tmp_path / "index"),
            log_store_config.LogStoreKey.KEEP_DAYS: 30,
            log_store_config.LogStoreKey.TOKENS: [TOKEN],
        },
    )
    agent = Process(
        "airfleet_provider.log_agent",
        environment.LOG_AGENT,
        tmp_path / "agent.json",
        {
            LogAgentKey.HOST: "host1",
            LogAgentKey.SERVER: {"address": "127.0.0.1", "port": agent_port},
            LogAgentKey.STORES: {"store1": f"https://127.0.0.1:{store_port}"},
            LogAgentKey.PROOF: files,
            LogAgentKey.POSITIONS: str(tmp_path / "positions"),
            LogAgentKey.TASKS: [str(tmp_path / "tasks")],
        },
    )
    try:
        yield store, agent, RemoteLogReader([f"https://127.0.0.1:{store_port}"], Proof(tmp_path / "ca.pem"), TOKEN)
    finally:
        store.kill()
        agent.kill()


def test_each_line_is_kept_once_though_agent_and_store_are_killed(
    tmp_path: Path, reader: tuple[Process, Process, RemoteLogReader]
) -> None:
    store, agent, search = reader
    path = tmp_path / "tasks" / TRY
    path.parent.mkdir(parents=True)
    victims = [store, agent] * KILLS
    for number in range(LINES):
        with path.open("a") as file:
            file.write(make_event(f"zebra {number}") + "\n")
        if number % (LINES // KILLS) == LINES // KILLS - 1:
            # Long enough that some lines are on their way.
            time.sleep(1.5)
            victim = victims.pop()
            victim.kill()
            victim.start()

    def count() -> Counter[str]:
        try:
            return Counter(hit.text for hit in search.search(LogQuery(text="zebra"), 10_000).hits)
        except LogStoreError:
            return Counter()

    wait_until(lambda: len(count()) == LINES, "all lines", every_s=0.2, seen=lambda: len(count()))
    # A turn of the agent later, nothing has come twice.
    time.sleep(2)
    assert count() == Counter({f"zebra {number}": 1 for number in range(LINES)})
    assert agent.kill(signal.SIGTERM) == 0
    assert store.kill(signal.SIGTERM) == 0


def test_a_log_agent_says_whether_a_machine_may_be_destroyed(
    tmp_path: Path, reader: tuple[Process, Process, RemoteLogReader]
) -> None:
    store, agent, search = reader
    path = tmp_path / "tasks" / TRY
    path.parent.mkdir(parents=True)

    def write(line: str) -> None:
        with path.open("a") as file:
            file.write(make_event(line) + "\n")

    def look(limit_s: float) -> str:
        words = [sys.executable, look_at_log_agent.__file__, str(tmp_path / "agent.json"), str(limit_s)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    write("zebra first")
    assert look(PATIENCE_S) == ""
    assert [hit.text for hit in search.search(LogQuery(text="zebra"), 10).hits] == ["zebra first"]
    store.kill()
    write("zebra last")
    assert look(3.0).startswith("the log store store1 last took lines")
    store.start()
    assert look(PATIENCE_S) == ""
    assert [hit.text for hit in search.search(LogQuery(text="zebra last"), 10).hits] == ["zebra last"]
    agent.kill()
    assert look(0.0).startswith("the log agent does not answer")
