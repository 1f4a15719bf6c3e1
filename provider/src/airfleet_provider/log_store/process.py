"""The process of the log store: its server, the thread that commits, and how it begins and ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

from airfleet_provider.agent_loops.server import Bounds, HttpAnswer, Server, ServerTls
from airfleet_provider.contract import environment
from airfleet_provider.contract.log_store_config import LogStoreKey
from airfleet_provider.contract.text import one_line
from airfleet_provider.log_index import memory
from airfleet_provider.log_index.store import LogReader, LogStoreError, LogWriter
from airfleet_provider.log_store import exposition
from airfleet_provider.log_store.keeper import Keeper
from airfleet_provider.log_store.service import LogStoreService

log = logging.getLogger(__name__)

# Each agent has a connection, and each search has one. A search is a short question, and a task reaches the port too.
# Connections of a task may not end those of the agents of other hosts. Hosts behind NAT share an address.
BOUNDS = Bounds(at_once=1024, longest_body=16 << 20, strangers_body=64 << 10, keeps_alive=True, of_one=128)
FORGET_EVERY_S = 3600.0
# A commit that has not come back for so long is stuck. One that merges an index takes some seconds.
STUCK_S = 120.0
DAY_US = 86_400 * 1_000_000


class Committer:
    """The thread that commits what agents sent, and removes old days."""

    def __init__(self, keeper: Keeper, *, keep_days: int) -> None:
        self._keeper = keeper
        self._keep_days = keep_days
        self._forgot = float("-inf")
        self._stopping = threading.Event()
        self.turned = time.monotonic()

    def run(self) -> None:
        """Work until `stop` is called."""
        while not self._stopping.is_set():
            self.turned = time.monotonic()
            try:
                self._forget()
                self._keeper.commit_next(1.0)
            except Exception:
                # An error that nobody foresaw must not end the thread: all agents would wait for ever.
                log.exception("a commit failed")
                time.sleep(1.0)
        self._keeper.close()

    def stop(self) -> None:
        """Let `run` commit what was added, and return."""
        self._stopping.set()
        self._keeper.wake()

    def _forget(self) -> None:
        if time.monotonic() - self._forgot >= FORGET_EVERY_S:
            self._forgot = time.monotonic()
            try:
                self._keeper.forget_before(int(time.time() * 1_000_000) - self._keep_days * DAY_US)
            except LogStoreError as error:
                log.error("old days are not removed: %s", one_line(error))

    def find_fault(self) -> str:
        """Return why the process must be restarted, or ""."""
        silent = time.monotonic() - self.turned
        return f"a commit has not come back for {silent:.0f} s" if silent > STUCK_S else ""


def find_store(config: Mapping[str, Any]) -> tuple[LogWriter, Callable[[], LogReader]]:
    """Return what keeps the lines, and what opens a reader of it: an index of this host, or an OpenSearch."""
    if found := config.get(LogStoreKey.OPENSEARCH):
        from airfleet_provider.log_index.opensearch import OpenSearchReader, OpenSearchWriter  # noqa: PLC0415
        from airfleet_provider.log_index.opensearch_client import OpenSearchServer  # noqa: PLC0415

        place = OpenSearchServer(str(found["url"]), str(found["prefix"]))
        return OpenSearchWriter(place), lambda: OpenSearchReader(place)
    from airfleet_provider.log_index.day_indexes import DayIndexReader, DayIndexWriter  # noqa: PLC0415 - it is 10 MB

    memory.keep_freed()
    index = Path(config[LogStoreKey.INDEX])
    return DayIndexWriter(index, time.time), lambda: DayIndexReader(index)


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run the process that the file of `AIRFLEET_LOG_STORE` describes; return its exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = json.loads(Path(environ[environment.LOG_STORE]).read_text("utf-8"))
    writer, open_reader = find_store(config)
    keeper = Keeper(writer)
    committer = Committer(keeper, keep_days=int(config[LogStoreKey.KEEP_DAYS]))
    service = LogStoreService(keeper, open_reader, config[LogStoreKey.TOKENS])

    def show_health(accept: str) -> HttpAnswer:
        # A full disk does not make the process ill, as a restart would not help.
        fault = committer.find_fault()
        return HttpAnswer.of_json({"fault": fault, "error": keeper.kept.failing}, good=not fault)

    def show_metrics(accept: str) -> HttpAnswer:
        return HttpAnswer(HTTPStatus.OK, exposition.CONTENT_TYPE, exposition.render(keeper.kept).encode())

    place: Mapping[str, Any] = config[LogStoreKey.SERVER]
    server = Server(
        str(place["address"]),
        int(place["port"]),
        {"/health": show_health, "/metrics": show_metrics},
        service.handlers,
        ServerTls(Path(place["certificate"]), Path(place["key"]), authorities=Path(place["authorities"])),
        BOUNDS,
    )
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()

    def stop(number: int, frame: FrameType | None) -> None:
        committer.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("serving https://%s", server.place)
    worker = threading.Thread(target=committer.run, name="commits", daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(1.0)
        if fault := committer.find_fault():
            log.error("this process ends: %s", fault)
            sys.stderr.flush()
            os._exit(1)
    return 0
