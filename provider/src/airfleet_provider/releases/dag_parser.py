"""Parses the Dag files of a release in forked children, and records what each file read and connected to.

The record gives a parse result its cache key: a file is parsed again only if something that it depends on changed.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import json
import os
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airfleet_provider.compat.calls import dag_files
from airfleet_provider.compat.patches import crash_reports, parsing
from airfleet_provider.contract import release_archive
from airfleet_provider.processes import bytecode, file_audit

# Threshold of the garbage collector in a child: a Dag file makes many objects, and is done before most are garbage.
GARBAGE = 10_000


def make_key(*parts: object) -> str:
    """Return a cache key; equal parts have equal keys on any machine."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def key_code(path: str, closure: Iterable[str], digests: Mapping[str, str], environment: str) -> str:
    """Return the key of a Dag file and all code that it imports from its release."""
    return make_key("code", path, sorted((name, digests[name]) for name in closure), environment)


def key_result(code: str, reads: Iterable[str], digests: Mapping[str, str]) -> str:
    """Return the key of one parse result: the code, and the files that it read from the release during the parse."""
    return make_key("result", code, [(name, digest_read(name, digests)) for name in sorted(reads)])


def digest_read(name: str, digests: Mapping[str, str]) -> str:
    """Return the digest of a file or, if the name ends in a slash, of the list of names in that folder."""
    if not name.endswith("/"):
        return digests.get(name, "")
    folder = name.removeprefix("/")
    below = {other[len(folder) :].split("/", 1)[0] for other in digests if other.startswith(folder)}
    return make_key(sorted(below))


@dataclass(slots=True)
class ReadAudit:
    """Records what Dag files access while this process parses them: Python's audit events and Airflow's lookups."""

    root: str
    path: str = ""
    accesses: list[dict[str, Any]] = field(default_factory=list)
    # If several Dag files import the same module, Python executes it for the first only. What the module read then is
    # recorded under the module's path, so that it counts for all of them.
    reads: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def start(self) -> None:
        """Start to record; Python offers no way to remove an audit hook."""
        sys.addaudithook(self._hear)

    def begin(self, path: str) -> None:
        """Attribute the following accesses to this Dag file."""
        self.path, self.accesses = path, []

    def record(self, kind: str, what: str) -> None:
        """Record an access, with the line of the Dag file that led to it."""
        place = f"{self.root}{self.path}"
        frame = sys._getframe(1)
        line = None
        while frame is not None and line is None:
            line = frame.f_lineno if frame.f_code.co_filename == place else None
            frame = frame.f_back  # type: ignore[assignment]
        if self.path:
            self.accesses.append({"kind": kind, "what": clean(what), "line": line})

    def use_database(self) -> None:
        """Record that the Dag file tried to open Airflow's database; this process does not let it."""
        self.record("database", "Airflow's metadata database")

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if access := file_audit.read_event(event, arguments):
            if access.path.startswith(self.root):
                self._read(access.path, is_folder=access.is_folder)
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            self.record("network", ":".join(str(part) for part in arguments[1][:2]))

    def _read(self, target: str, *, is_folder: bool) -> None:
        name = os.path.relpath(target, self.root)
        if name.endswith(".pyc"):
            try:
                name = importlib.util.source_from_cache(name)
            except ValueError:
                return
        frame = sys._getframe(2)
        if file_audit.is_import_scan(frame):
            return  # the import graph covers what the import system loads
        if name != "." and name.partition("/")[0] not in (
            *release_archive.FOLDERS,
            *release_archive.FILES,
            release_archive.IGNORE_FILE,
        ):
            return  # a project's folder holds files that are no part of a release
        read = name if not is_folder else "/" if name == "." else f"{name}/"
        self.reads[self.path].add(read)
        while frame is not None:
            place = frame.f_code.co_filename
            if place.startswith(self.root):
                self.reads[place[len(self.root) :]].add(read)
            frame = frame.f_back  # type: ignore[assignment]


def prepare_child(
    folder: Path,
    bundle: str,
    closures: Mapping[str, frozenset[str]],
    ask: Callable[[bytes], bytes],
    *,
    twice: bool,
) -> Callable[[str], bytes]:
    """Prepare this forked process; return a function that parses one Dag file into the JSON of a result.

    From here on the process executes code of Dag files. It cannot open Airflow's database. It sends each lookup of a
    variable or connection through `ask`.
    """
    crash_reports.end_on_crash()
    sys.dont_write_bytecode = True  # a release stays as it was unpacked
    bytecode.compare_nanoseconds(folder)
    sys.path.insert(0, str(folder))  # before the project's own folder, which may be on the path as well
    audit = ReadAudit(f"{folder}/")
    audit.start()

    def look_up(question: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ask(json.dumps(question).encode()))
        return found

    parsing.answer_lookups(look_up, audit.record)
    parsing.close_database(audit.use_database)

    kept = parsing.keep_settings()
    gc.set_threshold(GARBAGE)

    def work(path: str) -> bytes:
        audit.begin(path)
        started = time.monotonic()
        result, made = parse_file(folder, bundle, path, kept.forget)
        result["seconds"] = round(time.monotonic() - started, 4)
        result["accesses"] = audit.accesses
        if twice and not result["error"]:
            result["unstable"] = list_unstable(folder, bundle, path, made, kept.forget)
            result["is_compared"] = True
        known = closures[path]
        reads = set().union(*(audit.reads[name] for name in known | {path})) - known
        # Two lines, so that the reader can store the large result without decoding it.
        return f"{json.dumps(sorted(reads))}\n{json.dumps(result)}".encode()

    return work


def parse_file(
    folder: Path, bundle: str, path: str, forget: Callable[[], None]
) -> tuple[dict[str, Any], Mapping[str, dag_files.SerialisedDag]]:
    """Execute one Dag file and serialise its Dags; an exception becomes the `error` of the result.

    `forget` is called once the code of the file has run.
    """
    result: dict[str, Any] = {"path": path, "dags": {}, "error": None, "seconds": 0.0, "warnings": []}
    result |= {"unstable": [], "is_compared": False, "accesses": []}
    made: dict[str, dag_files.SerialisedDag] = {}
    try:
        dags, errors, warned = dag_files.load_dags(folder / path, folder, bundle)
        forget()
        result["warnings"] = [clean(line) for line in warned]
        made = {dag.dag_id: dag_files.serialise(dag) for dag in dags}
    except Exception:
        errors = [traceback.format_exc()]
    if errors:
        result["error"] = clean("\n".join(errors))
        made = {}
    result["dags"] = {name: {"hash": one.hash, "data": one.data} for name, one in made.items()}
    return result, made


def list_unstable(
    folder: Path,
    bundle: str,
    path: str,
    before: Mapping[str, dag_files.SerialisedDag],
    forget: Callable[[], None],
) -> list[str]:
    """Execute a Dag file again, and return which of the Dags that it made `before` it has not made the same."""
    try:
        dags, errors, _ = dag_files.load_dags(folder / path, folder, bundle)
        forget()
        same = {dag.dag_id for dag in dags if dag.dag_id in before and dag_files.is_same(dag, before[dag.dag_id])}
    except Exception:
        return sorted(before)
    return sorted(before if errors else before.keys() - same)


def describe_failure(path: str, error: str, seconds: float) -> dict[str, Any]:
    """Return the result of a file whose process died or timed out."""
    return {
        "path": path,
        "dags": {},
        "error": f"{path}: {error}",
        "seconds": round(seconds, 4),
        "warnings": [],
        "unstable": [],
        "is_compared": False,
        "accesses": [],
    }


def clean(text: str) -> str:
    """Return the text with NUL characters and lone surrogates escaped: PostgreSQL cannot store them."""
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()
