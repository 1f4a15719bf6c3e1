"""The parser: the process that executes Dag files, and that never had the secrets to open Airflow's database.

The releaser holds the password of the metadata database and the Fernet key in its memory, its environment and its
connections. A fork of the releaser would hold them too. So the parser is a fork of the task image, which never had
them, or a new program, whose environment and airflow.cfg have no secrets. The parser forks children that execute Dag
files. It passes their requests for variables and connections on to the releaser, which looks them up. Both processes
exchange only JSON.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Protocol

from airfleet_provider.compat.calls import config, dag_files, dag_publishing, parsing
from airfleet_provider.processes import fork_pool, image_client, lifecycle
from airfleet_provider.releases import dag_parser

# `path` comes first, so that the parser imports all modules from the same places as the releaser.
CODE = (
    "import sys; given = sys.argv.pop(); "
    "import json; sys.path[:] = json.loads(given)['path']; "
    "from airfleet_provider.processes import iri_grammar; iri_grammar.defer(); "
    "from airfleet_provider.releases.parser_process import main; main(given)"
)
CONFIG = ".parser.cfg"
# The name of this kind of process at the task image.
KIND = "parser"
# The longest silence of the parser, in seconds, in addition to the timeout of a file. It includes importing Airflow.
SILENCE_S = 120.0
# The answer to a question that a child may ask only if it has executed no other file.
ANEW = {"anew": True}
# In an answer that other files may not read: the child executes no file after this one.
KEPT = "kept"
# A file of which nobody knows anything: what it may read, every file may read.
ANY_FILE = ""


class ParserGoneError(Exception):
    """The parser process has ended, or does not answer."""


class ParserProcess(Protocol):
    """A parser that runs, as a program of its own or as a fork of the task image."""

    def kill(self) -> None: ...

    def wait(self) -> object: ...


@dataclass(slots=True)
class Parser:
    """The releaser's end of the parser: starts the process when there is work, and again after the process ended."""

    process: ParserProcess | None = None
    channel: Connection | None = field(default=None)
    # Returns if code of a Dag file may read a connection or variable, and raises PermissionError if not.
    check: Callable[[str, str, bool, str], None] = lambda *_: None

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
        """Yield one outcome for each Dag file; a file that ends the whole parser process fails only itself."""
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
                if job["count"] == 1:  # files were parsed one by one, so the first pending file ended the process
                    yield fork_pool.ItemOutcome(pending.pop(0), None, f"The process that parses {error}.", 0.0)
                job["count"] = 1
            except BaseException:
                self.stop()  # otherwise the next job would read the rest of this job's messages
                raise

    def start(self) -> None:
        """Start the process unless it runs; do not wait until a new program has imported Airflow."""
        if self.process is None:
            self.channel, theirs = Pipe()
            settings = config.storage_root() / CONFIG
            settings.parent.mkdir(parents=True, exist_ok=True)
            # The releaser's own settings are not those of the platform, which the task image has.
            parsing.write_open_settings(settings, without=dag_publishing.PUBLISHER_SETTINGS)
            env = parsing.list_open_environment(settings)
            digest = hashlib.sha256(settings.read_bytes()).hexdigest()
            given = json.dumps({"path": sys.path, "channel": theirs.fileno(), "releaser": os.getpid()})
            with theirs:
                self.process = image_client.fork(KIND, {}, [theirs.fileno()], env=env, settings=digest)
                self.process = self.process or subprocess.Popen(
                    [sys.executable, "-P", "-c", CODE, given],
                    stdin=subprocess.DEVNULL,
                    env=env,
                    pass_fds=(theirs.fileno(),),
                )

    def stop(self) -> None:
        """Kill the process if it runs, and wait for its end."""
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
                found = self._answer(told["ask"])
                with _as_gone():
                    self._send(found)
            elif "item" in told:
                yield fork_pool.ItemOutcome(told["item"], answer, told["error"], told["seconds"])
            else:
                return

    def _answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Look up what a Dag file reads, unless the file may not read it: then the answer says why.

        The last of `files` is the file that the child was given to execute, and no name that the child chose. The
        others are those that it executed before. Code that one of them has left there may be who asks. So where one of
        them may not read it, the file is executed again, in a child of its own. What a list keeps stays in the memory
        of the child, where the next file would find it.
        """
        is_kept = False
        kind = {"connection": "connections", "variable": "variables"}.get(str(question.get("kind")))
        if kind is not None:
            *earlier, file = map(str, question.get("files") or [ANY_FILE])
            name = str(question.get("name"))
            if (refused := self._find_refusal(kind, name, file)) is not None:
                return {"refused": refused}
            if any(self._find_refusal(kind, name, one) is not None for one in earlier):
                return ANEW
            is_kept = self._find_refusal(kind, name, ANY_FILE) is not None
        found = parsing.look_up(question)
        return {**found, KEPT: True} if is_kept else found

    def _find_refusal(self, kind: str, name: str, file: str) -> str | None:
        """Return why a file may not read a connection or a variable; None if it may."""
        try:
            self.check(kind, name, False, file)
        except PermissionError as error:
            return str(error)
        return None

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
    """Do the releaser's jobs until the releaser has closed the channel."""
    from setproctitle import setproctitle  # noqa: PLC0415 - only this process needs it

    told = json.loads(given)
    lifecycle.die_with(told["releaser"])
    setproctitle("airfleet parser")
    parsing.seal_memory()
    os.set_inheritable(told["channel"], False)
    work(Connection(told["channel"]))


def main_of_fork(_: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Do the same as a fork of the task image. The supervisor of the platform ends it with the releaser."""
    from setproctitle import setproctitle  # noqa: PLC0415 - only this process needs it

    setproctitle("airfleet parser")
    parsing.seal_memory()
    work(Connection(descriptors[0]))


def work(channel: Connection) -> None:
    """Do the jobs that come through the channel, until it is closed."""
    parsing.prepare_parser()
    gc.freeze()  # forked children share the memory of everything imported so far
    while True:
        try:
            job = json.loads(channel.recv_bytes())
        except (EOFError, OSError):
            return
        serve(job, channel)


def serve(job: Mapping[str, Any], channel: Connection) -> None:
    """Do one job: send each outcome when it is there, then the end of the job."""

    def pass_on(files: Sequence[str], question: bytes) -> fork_pool.Reply | None:
        channel.send_bytes(json.dumps({"ask": {**json.loads(question), "files": files}}).encode())
        found = json.loads(channel.recv_bytes())
        if found == ANEW:
            return None
        is_kept = bool(found.pop(KEPT, False))
        return fork_pool.Reply(json.dumps(found).encode(), is_kept=is_kept)

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
