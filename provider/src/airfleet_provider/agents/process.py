"""The agents process: it keeps the lease, runs the loops in threads, and serves its health and the metrics."""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg

from airfleet_provider.agent_loops.lease import ANSWER_S, RENEW_EVERY_S, AgentsLease
from airfleet_provider.agent_loops.loop import Context, Loop, LoopThread, connect
from airfleet_provider.agent_loops.server import HttpAnswer, Route, Server, ServerTls
from airfleet_provider.agents.catalogue import assemble
from airfleet_provider.contract import environment, gate
from airfleet_provider.contract.agents_config import AgentsKey

log = logging.getLogger(__name__)

LEASE = "lease"
LOOK_EVERY_S = 1.0
# A turn of a loop has this long to end when the process stops.
STOP_S = 5.0
# The process is ready while it has reached the database in the last so many seconds.
READY_S = 30.0


class AgentsProcess:
    """The loops of one process, and its lease."""

    def __init__(
        self,
        config: Mapping[str, Any],
        loops: Sequence[Loop],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.stopping = threading.Event()
        self.clock = clock
        host = str(config[AgentsKey.HOST])
        # A name that no other process ever had: a restarted process is another holder.
        self.lease = AgentsLease(f"{host[:60]}:{secrets.token_hex(6)}", clock=clock)
        open_connection = partial(connect, config[AgentsKey.DATABASE])
        keeper = Loop(LEASE, RENEW_EVERY_S, self._keep_lease, only_active=False)
        self.threads = tuple(
            LoopThread(
                loop,
                Context(loop.name, config, self.lease, self.stopping, open_connection),
                self.lease,
                clock,
            )
            for loop in (keeper, *loops)
        )

    def _keep_lease(self, context: Context) -> None:
        with context.share(timeout_s=ANSWER_S) as connection:
            term = self.lease.ask(connection)
        self.lease.note(term)

    def run(self) -> int:
        """Work until `stopping` is set, and return the exit code. A loop that is stuck ends the process."""
        for one in self.threads:
            one.thread.start()
        while not self.stopping.wait(LOOK_EVERY_S):
            if faults := self.list_faults():
                log.error("this process ends: %s", "; ".join(faults))
                return 1
        end = self.clock() + STOP_S
        for one in self.threads:
            one.thread.join(max(0.0, end - self.clock()))
        self._release()
        return 0

    def _release(self) -> None:
        with suppress(psycopg.Error), connect(self.config[AgentsKey.DATABASE], LEASE) as connection:
            self.lease.release(connection)

    def list_faults(self) -> list[str]:
        """Return why the process must be restarted; nothing if all loops are well."""
        return [fault for one in self.threads if (fault := one.find_fault())]

    def show_health(self, accept: str) -> HttpAnswer:
        """Answer whether the process is alive. An outage of the database does not make it ill."""
        return HttpAnswer.of_json(self._describe(), good=not self.list_faults())

    def show_ready(self, accept: str) -> HttpAnswer:
        """Answer whether the process does its work: the database answers, and no loop has failed last time."""
        keeper, *others = self.threads
        is_reached = keeper.state.succeeded is not None and keeper.read_age() < READY_S
        failing = [one.loop.name for one in others if one.state.consecutive]
        return HttpAnswer.of_json(self._describe(), good=is_reached and not failing and not self.list_faults())

    def _describe(self) -> dict[str, Any]:
        loops = {}
        for one in self.threads:
            state = asdict(one.state)
            for name in ("since", "busy_since", "succeeded"):
                moment = state.pop(name)
                state[f"{name}_s"] = None if moment is None else round(self.clock() - moment, 1)
            loops[one.loop.name] = state
        return {"active": self.lease.epoch is not None, "faults": self.list_faults(), "loops": loops}


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run the process that the file of `AIRFLEET_AGENTS` describes; return its exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    gate.wait(environ)
    config = read_config(Path(environ[environment.AGENTS]))
    work = assemble(config)
    process = AgentsProcess(config, work.loops)
    place = config[AgentsKey.SERVER]
    routes: dict[str, Route] = {
        **work.make_routes(process.threads, process.lease),
        "/health": process.show_health,
        "/ready": process.show_ready,
    }
    tls = (
        ServerTls(Path(place["certificate"]), Path(place["key"]), bool(place["tls_required"]))
        if "key" in place
        else None
    )
    server = Server(str(place["address"]), int(place["port"]), routes, work.handlers, tls)
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()

    def stop(number: int, frame: FrameType | None) -> None:
        process.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    names = ", ".join(one.loop.name for one in process.threads)
    scheme = "https" if tls else "http"
    log.info("serving %s://%s/metrics; loops: %s", scheme, server.place, names)
    code = process.run()
    # Threads that are stuck in a call would keep the interpreter from its end.
    sys.stderr.flush()
    os._exit(code)


def read_config(path: Path) -> Mapping[str, Any]:
    """Return the configuration in the file.

    Raises:
        SystemExit: The file cannot be read, or it is not what the control side writes.
    """
    try:
        config = json.loads(path.read_text("utf-8"))
        missing = {AgentsKey.HOST, AgentsKey.DATABASE, AgentsKey.SERVER} - config.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise SystemExit(f"airfleet: cannot read {path}: {error}") from None
    if missing:
        raise SystemExit(f"airfleet: {path} has no {', '.join(sorted(missing))}")
    return dict(config)
