"""The process of the log agent: its turns, what it serves of itself, and how it begins and ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

from airfleet_provider.agent_loops.server import HttpAnswer, Server
from airfleet_provider.contract import environment
from airfleet_provider.contract.log_agent_config import KEEP_DAYS, MOST_BYTES_PER_TRY, POSITIONS, LogAgentKey
from airfleet_provider.contract.redaction import Redaction
from airfleet_provider.contract.text import one_line
from airfleet_provider.log_agent import exposition
from airfleet_provider.log_agent.agent import LogAgent, Places
from airfleet_provider.log_agent.journal import Journal
from airfleet_provider.log_agent.positions import Positions
from airfleet_provider.log_index import memory
from airfleet_provider.log_index.remote import Proof, RemoteLogWriter
from airfleet_provider.log_index.store import LogStoreError, LogWriter

log = logging.getLogger(__name__)

# Seconds from the beginning of a turn to that of the next. A commit of the index costs 14 ms of a core however few its
# lines are, so with a turn each second an agent that writes the index would use more than 2 % of a core.
TURN_S, INDEX_TURN_S = 1.0, 1.5
# A turn that fails is tried again after this long, doubled each time up to the longest.
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
# A turn that takes longer is stuck. It normally ends within a second, and the merge of an index within some.
STUCK_S = 120.0
# The name of the store of an agent that writes the index itself.
INDEX = "index"
FORGET_EVERY_S = 3600.0
DAY_US = 86_400 * 1_000_000


@dataclass(slots=True)
class AgentState:
    """How the agent does. Moments are of the monotonic clock."""

    since: float
    turned: float | None = None
    busy_since: float | None = None
    failures: int = 0
    in_a_row: int = 0
    error: str = ""


class LogAgentProcess:
    """Runs the turns of an agent in one thread, and answers what others ask of it."""

    def __init__(
        self,
        agent: LogAgent,
        store: LogWriter,
        *,
        keep_days: int,
        turn_s: float = TURN_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._agent = agent
        self._store = store
        self._keep_days = keep_days
        self._turn_s = turn_s
        self._clock = clock
        self._wall = wall
        self._forgot = float("-inf")
        self.stopping = threading.Event()
        self.state = AgentState(clock())

    def run(self) -> None:
        """Work until `stopping` is set. The last turn takes what was written until then."""
        while not self.stopping.is_set():
            begun = self._clock()
            has_more = self.turn()
            if not has_more:
                self.stopping.wait(max(0.0, self._wait_s() - (self._clock() - begun)))
        self._agent.hurry()
        self.turn()
        self._store.close()
        self._agent.give_up()

    def turn(self) -> bool:
        """Do one turn, and return whether another should follow at once. A failure is noted and tried again.

        Others write what a turn reads, so no error may end the thread.
        """
        state = self.state
        state.busy_since = self._clock()
        try:
            # Before the turn: if the disk has no room, the turn fails, and old days would be kept for ever.
            self._forget()
            has_more = self._agent.turn()
        except Exception as error:
            state.failures += 1
            state.in_a_row += 1
            known = isinstance(error, (LogStoreError, sqlite3.Error, OSError))
            if (text := one_line(error if known else f"{type(error).__name__}: {error}")) != state.error:
                log.error("the logs are not taken, and are tried again: %s", text)
            state.error = text
            self._store.close()
            self._agent.give_up()
            return False
        else:
            if state.error:
                log.info("the logs are taken again after %d failures", state.in_a_row)
            state.in_a_row, state.error, state.turned = 0, "", self._clock()
            return has_more
        finally:
            state.busy_since = None

    def _forget(self) -> None:
        if self._clock() - self._forgot < FORGET_EVERY_S:
            return
        self._forgot = self._clock()
        self._store.forget_before(int(self._wall() * 1_000_000) - self._keep_days * DAY_US)

    def _wait_s(self) -> float:
        if not self.state.in_a_row:
            return self._turn_s
        return float(min(FIRST_WAIT_S * 2 ** min(self.state.in_a_row - 1, 10), LONGEST_WAIT_S))

    def find_fault(self) -> str:
        """Return why the process must be restarted, or "". One that fails and tries again is well."""
        busy = self.state.busy_since
        if busy is not None and self._clock() - busy > STUCK_S:
            return f"a turn has not come back for {self._clock() - busy:.0f} s"
        return ""

    def show_state(self) -> Mapping[str, object]:
        """Return how the turns do, as an object that JSON knows."""
        ago = None if self.state.turned is None else round(self._clock() - self.state.turned, 1)
        return {"error": self.state.error, "turned_s": ago, "lines": self._agent.totals.lines}

    def find_progress(self, name: str) -> exposition.Progress:
        """Return the figures of the metrics. `name` is that of the store."""
        state = self.state
        age = self._clock() - (state.turned if state.turned is not None else state.since)
        return exposition.Progress(name, self._agent.totals, state.failures, age)


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run the process that the file of `AIRFLEET_LOG_AGENT` describes; return its exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = read_config(Path(environ[environment.LOG_AGENT]))
    processes = {name: make_process(config, name, store) for name, store in make_stores(config).items()}

    def find_fault() -> str:
        return next((fault for one in processes.values() if (fault := one.find_fault())), "")

    def show_health(accept: str) -> HttpAnswer:
        # A full disk, or a store that is down, does not make the process ill, as a restart would not help.
        fault = find_fault()
        return HttpAnswer.of_json(
            {"fault": fault, "stores": {name: one.show_state() for name, one in processes.items()}}, good=not fault
        )

    def show_metrics(accept: str) -> HttpAnswer:
        text = exposition.render([one.find_progress(name) for name, one in processes.items()])
        return HttpAnswer(HTTPStatus.OK, exposition.CONTENT_TYPE, text.encode())

    place = config[LogAgentKey.SERVER]
    server = Server(
        str(place["address"]),
        int(place["port"]),
        {"/health": show_health, "/ready": show_health, "/metrics": show_metrics},
    )
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()

    def stop(number: int, frame: FrameType | None) -> None:
        for one in processes.values():
            one.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("serving http://%s/metrics", server.place)
    workers = [threading.Thread(target=one.run, name=name, daemon=True) for name, one in processes.items()]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        workers[0].join(1.0)
        if fault := find_fault():
            log.error("this process ends: %s", fault)
            sys.stderr.flush()
            os._exit(1)
    return 0 if all(one.stopping.is_set() for one in processes.values()) else 1


def make_stores(config: Mapping[str, Any]) -> Mapping[str, LogWriter]:
    """Return what the agent writes to, each with its name: the index, or the log stores of the fleet."""
    if LogAgentKey.INDEX in config:
        from airfleet_provider.log_index.day_indexes import DayIndexWriter  # noqa: PLC0415 - it is 10 MB

        memory.keep_freed()
        return {INDEX: DayIndexWriter(Path(config[LogAgentKey.INDEX]), time.time)}
    files = {name: Path(path) for name, path in config[LogAgentKey.PROOF].items()}
    proof = Proof(files["authorities"], files["certificate"], files["key"])
    return {name: RemoteLogWriter(url, proof) for name, url in config[LogAgentKey.STORES].items()}


def make_process(config: Mapping[str, Any], name: str, store: LogWriter) -> LogAgentProcess:
    """Return the turns that write to one store. They depend on no other store, so one that is down stops no other."""
    agent = make_agent(config, store, name=POSITIONS if name == INDEX else f"{POSITIONS}-{name}")
    return LogAgentProcess(
        agent,
        store,
        keep_days=int(config.get(LogAgentKey.KEEP_DAYS, KEEP_DAYS)),
        turn_s=INDEX_TURN_S if name == INDEX else TURN_S,
    )


def make_agent(config: Mapping[str, Any], store: LogWriter, *, name: str = POSITIONS) -> LogAgent:
    """Return the agent that the configuration describes, writing to `store`, with its positions in a file `name`."""
    places = Places(
        host=str(config[LogAgentKey.HOST]),
        components=str(config.get(LogAgentKey.COMPONENTS, "")),
        tasks=tuple(map(str, config[LogAgentKey.TASKS])),
        trees=tuple((tree, str(folder)) for tree, folder in config.get(LogAgentKey.TREES, {}).items()),
    )
    program = config.get(LogAgentKey.JOURNAL)
    return LogAgent(
        places,
        store,
        Positions(Path(config[LogAgentKey.POSITIONS]) / f"{name}.sqlite"),
        Redaction(config.get(LogAgentKey.REDACT, ())),
        most_bytes=int(config.get(LogAgentKey.MOST_BYTES_PER_TRY, MOST_BYTES_PER_TRY)),
        clock=time.monotonic,
        wall=time.time,
        journal=Journal(program, days=int(config.get(LogAgentKey.KEEP_DAYS, KEEP_DAYS))) if program else None,
    )


def read_config(path: Path) -> Mapping[str, Any]:
    """Return the configuration in the file.

    Raises:
        SystemExit: The file cannot be read, or it is not what the control side writes.
    """
    try:
        config = json.loads(path.read_text("utf-8"))
        wanted = {LogAgentKey.HOST, LogAgentKey.SERVER, LogAgentKey.POSITIONS, LogAgentKey.TASKS}
        missing = wanted | ({LogAgentKey.INDEX} if LogAgentKey.STORES not in config else {LogAgentKey.PROOF})
        missing -= config.keys()
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SystemExit(f"airfleet: cannot read {path}: {error}") from None
    if missing:
        raise SystemExit(f"airfleet: {path} has no {', '.join(sorted(missing))}")
    return dict(config)
