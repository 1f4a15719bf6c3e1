"""The process in which Dag files are executed: a fresh one, that was never told how to open Airflow's database.

The releaser holds the password of the metadata database and the Fernet key in its memory, its environment and its
connections, and a fork of it would hold them too. So the parser is a new program, whose environment and airflow.cfg
have no secrets. It forks children that execute Dag files, and passes on what they ask for: variables and connections,
which the releaser looks up. All that crosses the channel is JSON.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from airfleet_provider.compat.calls import config, dag_files, parsing
from airfleet_provider.processes import fork_pool, lifecycle
from airfleet_provider.releases import dag_parser

# `path` first: whatever is imported comes from where the releaser's own modules came from.
CODE = (
    "import sys; given = sys.argv.pop(); "
    "import json; sys.path[:] = json.loads(given)['path']; "
    "from airfleet_provider.releases.parser_process import main; main(given)"
)
CONFIG = ".parser.cfg"
# What is heard of it at least, beside the time that a file may take: it imports Airflow before it parses.
SILENCE_S = 120.0


class ParserGoneError(Exception):
    """The parser has ended, or does not answer."""


@dataclass(slots=True)
class Parser:
    """The releaser's end: starts the process when there is something to parse, and anew when it has ended."""

    process: subprocess.Popen[bytes] | None = None
    channel: Connection | None = field(default=None)

    def parse(
        self,
        folder: Path,
        bundle: str,
        paths: Sequence[str],
        closures: Mapping[str, frozenset[str]],
        *,
        twice: bool,
        timeout_s: float,
    ) -> Iterator[fork_pool.ItemOutcome]:
        """One outcome for each Dag file; a file that ends the whole process costs only itself."""
        pending = list(paths)
        job = {"folder": str(folder), "bundle": bundle, "twice": twice, "timeout_s": timeout_s, "count": os.cpu_count()}
        while pending:
            job |= {"paths": pending, "closures": {path: sorted(closures[path]) for path in pending}}
            try:
                for outcome in self._work(job, timeout_s + SILENCE_S):
                    pending.remove(outcome.item)
                    yield outcome
            except ParserGoneError as error:
                self.stop()
                if job["count"] == 1:  # they came in turn, so it was the first that is left
                    yield fork_pool.ItemOutcome(pending.pop(0), None, f"The process that parses {error}.", 0.0)
                job["count"] = 1
            except BaseException:
                self.stop()  # what it says next would belong to this job
                raise

    def start(self) -> None:
        """Have the process, which imports Airflow meanwhile."""
        if self.process is None:
            self.channel, theirs = Pipe()
            settings = config.storage_root() / CONFIG
            settings.parent.mkdir(parents=True, exist_ok=True)
            parsing.write_open_settings(settings)
            given = json.dumps({"path": sys.path, "channel": theirs.fileno(), "releaser": os.getpid()})
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-c", CODE, given],
                    stdin=subprocess.DEVNULL,
                    env=parsing.list_open_environment(settings),
                    pass_fds=(theirs.fileno(),),
                )

    def stop(self) -> None:
        """Have no such process."""
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.channel:
            self.channel.close()
        self.process, self.channel = None, None

    def _work(self, job: Mapping[str, Any], silence_s: float) -> Iterator[fork_pool.ItemOutcome]:
        self.start()
        with _as_gone():
            self._send(job)
        while True:
            with _as_gone():
                told = json.loads(self._receive(silence_s))
                answer = self._receive(silence_s) if told.get("answers") else None
            if "ask" in told:
                found = parsing.look_up(told["ask"])
                with _as_gone():
                    self._send(found)
            elif "item" in told:
                yield fork_pool.ItemOutcome(told["item"], answer, told["error"], told["seconds"])
            else:
                return

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.channel is not None  # noqa: S101 - it was started
        self.channel.send_bytes(json.dumps(message).encode())

    def _receive(self, silence_s: float) -> bytes:
        assert self.channel is not None  # noqa: S101 - it was started
        if not self.channel.poll(silence_s):
            raise ParserGoneError("did not answer and was stopped")
        return self.channel.recv_bytes(fork_pool.LARGEST)


@contextlib.contextmanager
def _as_gone() -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError) as error:
        raise ParserGoneError("was ended") from error


def main(given: str) -> None:
    """Parse what the releaser asks for until it has gone."""
    from setproctitle import setproctitle  # noqa: PLC0415 - only this process needs it

    told = json.loads(given)
    lifecycle.die_with(told["releaser"])
    setproctitle("airfleet parser")
    parsing.seal_memory()
    parsing.prepare_parser()
    channel = Connection(told["channel"])
    os.set_inheritable(channel.fileno(), False)
    gc.freeze()  # children share what is imported by now
    while True:
        try:
            job = json.loads(channel.recv_bytes())
        except (EOFError, OSError):
            return
        serve(job, channel)


def serve(job: Mapping[str, Any], channel: Connection) -> None:
    """Do one job: tell each outcome as it comes, and the end."""

    def pass_on(question: bytes) -> bytes:
        channel.send_bytes(json.dumps({"ask": json.loads(question)}).encode())
        return channel.recv_bytes()

    folder = Path(job["folder"])
    dag_files.import_ahead(folder / path for path in job["paths"])
    closures = {path: frozenset(names) for path, names in job["closures"].items()}

    def prepare(ask: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
        return dag_parser.prepare_child(folder, job["bundle"], closures, ask, twice=job["twice"])

    count, timeout_s = job["count"] or 1, job["timeout_s"]
    for one in fork_pool.work_through(job["paths"], prepare, count=count, timeout_s=timeout_s, answer=pass_on):
        told = {"item": one.item, "error": one.error, "seconds": one.seconds, "answers": one.answer is not None}
        channel.send_bytes(json.dumps(told).encode())
        if one.answer is not None:
            channel.send_bytes(one.answer)
    channel.send_bytes(b'{"done": true}')
