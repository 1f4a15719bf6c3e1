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

from airfleet_provider.agent_loops.server import Answer, Server
from airfleet_provider.contract import environment
from airfleet_provider.contract.log_agent_config import KEEP_DAYS, MOST_BYTES_PER_TRY, Key
from airfleet_provider.contract.text import one_line
from airfleet_provider.log_agent import exposition
from airfleet_provider.log_agent.agent import LogAgent, Places
from airfleet_provider.log_agent.positions import Positions
from airfleet_provider.log_agent.redaction import Redaction
from airfleet_provider.log_index.day_indexes import DayIndexWriter
from airfleet_provider.log_index.store import LogWriter, StoreError

log = logging.getLogger(__name__)

# A line is found about a second after it was written.
TURN_S = 1.0
# A turn that fails is tried again after this long, doubled each time up to the longest.
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
# A turn that takes longer is stuck. It normally ends within a second, and the merge of an index within some.
STUCK_S = 120.0
FORGET_EVERY_S = 3600.0
DAY_US = 86_400 * 1_000_000


@dataclass(slots=True)
class State:
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
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._agent = agent
        self._store = store
        self._keep_days = keep_days
        self._clock = clock
        self._wall = wall
        self._forgot = float("-inf")
        self.stopping = threading.Event()
        self.state = State(clock())

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
            known = isinstance(error, (StoreError, sqlite3.Error, OSError))
            if (text := one_line(error if known else f"{type(error).__name__}: {error}")) != state.error:
                log.error("the logs are not taken, and are tried again: %s", text)
            state.error = text
            self._store.close()
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
            return TURN_S
        return float(min(FIRST_WAIT_S * 2 ** min(self.state.in_a_row - 1, 10), LONGEST_WAIT_S))

    def find_fault(self) -> str:
        """Return why the process must be restarted, or "". One that fails and tries again is well."""
        busy = self.state.busy_since
        if busy is not None and self._clock() - busy > STUCK_S:
            return f"a turn has not come back for {self._clock() - busy:.0f} s"
        return ""

    def show_health(self, accept: str) -> Answer:
        """Answer whether the process is alive. A full disk does not make it ill, as a restart would not help."""
        fault, state = self.find_fault(), self.state
        ago = None if state.turned is None else round(self._clock() - state.turned, 1)
        body = {"fault": fault, "error": state.error, "turned_s": ago, "lines": self._agent.totals.lines}
        return Answer.of_json(body, good=not fault)

    def show_metrics(self, accept: str) -> Answer:
        """Answer with the metrics of this process, in Prometheus' text format."""
        state = self.state
        age = self._clock() - (state.turned if state.turned is not None else state.since)
        text = exposition.render(self._agent.totals, failures=state.failures, age_s=age)
        return Answer(HTTPStatus.OK, exposition.CONTENT_TYPE, text.encode())


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run the process that the file of `AIRFLEET_LOG_AGENT` describes; return its exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = read_config(Path(environ[environment.LOG_AGENT]))
    store = DayIndexWriter(Path(config[Key.INDEX]), time.time)
    agent = make_agent(config, store)
    process = LogAgentProcess(agent, store, keep_days=int(config.get(Key.KEEP_DAYS, KEEP_DAYS)))
    place = config[Key.SERVER]
    server = Server(
        str(place["address"]),
        int(place["port"]),
        {"/health": process.show_health, "/ready": process.show_health, "/metrics": process.show_metrics},
    )
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()

    def stop(number: int, frame: FrameType | None) -> None:
        process.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("serving http://%s:%s/metrics", place["address"], place["port"])
    worker = threading.Thread(target=process.run, name="turns", daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(1.0)
        if fault := process.find_fault():
            log.error("this process ends: %s", fault)
            sys.stderr.flush()
            os._exit(1)
    return 0 if process.stopping.is_set() else 1


def make_agent(config: Mapping[str, Any], store: LogWriter) -> LogAgent:
    """Return the agent that the configuration describes, writing to `store`."""
    places = Places(
        host=str(config[Key.HOST]),
        components=str(config[Key.COMPONENTS]),
        tasks=str(config[Key.TASKS]),
        trees=tuple((name, str(folder)) for name, folder in config.get(Key.TREES, {}).items()),
    )
    return LogAgent(
        places,
        store,
        Positions(Path(config[Key.POSITIONS])),
        Redaction(config.get(Key.REDACT, ())),
        most_bytes=int(config.get(Key.MOST_BYTES_PER_TRY, MOST_BYTES_PER_TRY)),
        clock=time.monotonic,
        wall=time.time,
    )


def read_config(path: Path) -> Mapping[str, Any]:
    """Return the configuration in the file.

    Raises:
        SystemExit: The file cannot be read, or it is not what the control side writes.
    """
    try:
        config = json.loads(path.read_text("utf-8"))
        missing = {Key.HOST, Key.SERVER, Key.INDEX, Key.POSITIONS, Key.COMPONENTS, Key.TASKS} - config.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise SystemExit(f"airfleet: cannot read {path}: {error}") from None
    if missing:
        raise SystemExit(f"airfleet: {path} has no {', '.join(sorted(missing))}")
    return dict(config)
