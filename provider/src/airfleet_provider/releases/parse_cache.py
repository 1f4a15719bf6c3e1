"""The parse results of a release: from the cache if nothing that a result depends on has changed, parsed otherwise."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from airfleet_provider.compat.calls import config, dag_files, db_errors, metadata_db
from airfleet_provider.contract import directives, release_archive
from airfleet_provider.contract.statements import Statements
from airfleet_provider.database import run
from airfleet_provider.processes import fork_pool
from airfleet_provider.releases import dag_parser, import_graph
from airfleet_provider.releases.parser_process import Parser
from airfleet_provider.releases.publish import ReleasedDag

SQL = Statements(__package__, "parse_cache")

# Results are stored after this many files or seconds: a releaser that is killed loses no more than that.
BATCH, BATCH_S = 50, 0.5


@dataclass(frozen=True, slots=True)
class UnpackedRelease:
    """A release on this host, with the files that its Dag files depend on."""

    bundle: str
    id: str
    folder: Path
    digests: Mapping[str, str]
    intervals: Mapping[str, int]
    closures: Mapping[str, frozenset[str]]
    codes: Mapping[str, str]
    # Files of a project's folder that a release may not contain, and why; empty for a release.
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ParseResults:
    """One result for each Dag file, without its serialised Dags, and the cache key of the whole result."""

    summaries: Mapping[str, Mapping[str, Any]]
    keys: Mapping[str, str]
    parsed: frozenset[str]

    def errors(self) -> dict[str, str]:
        """Return why files do not load, by path.

        If two files define the same Dag, the file whose path sorts later has the error.
        """
        found = {path: one["error"] for path, one in self.summaries.items() if one["error"]}
        owner: dict[str, str] = {}
        for path in sorted(self.summaries):
            for dag_id in self.summaries[path]["dags"] if path not in found else ():
                if dag_id in owner:
                    found[path] = f"{path}: the Dag {dag_id} is in {owner[dag_id]} already"
                owner.setdefault(dag_id, path)
        return found

    def dags(self) -> tuple[ReleasedDag, ...]:
        """Return the Dags of all files without an error."""
        broken = self.errors()
        return tuple(
            ReleasedDag(dag_id, path, dag["hash"], float(one["seconds"]), is_rewritten=bool(dag["rewritten"]))
            for path, one in self.summaries.items()
            if path not in broken
            for dag_id, dag in one["dags"].items()
        )

    def hashes(self) -> dict[str, str]:
        """Return the hash of each Dag, by Dag id."""
        return {dag.dag_id: dag.hash for dag in self.dags()}

    def load(self, dags: Sequence[ReleasedDag]) -> list[dict[str, Any]]:
        """Return the serialised data of these Dags, in their order."""
        with metadata_db.open_session() as session:
            keys = [self.keys[dag.path] for dag in dags]
            rows = run(session, SQL["read_data"], keys=keys, dags=[dag.dag_id for dag in dags])
            return [row.data for row in rows]


def inspect(
    bundle: str, release: str, folder: Path, environment: str, memory: dict[object, import_graph.Imports] | None = None
) -> UnpackedRelease:
    """Read an unpacked release, or a project's folder, without executing any of its code."""
    scan = release_archive.look(folder)
    contents, digests = scan.contents, scan.tree.digests()
    found = import_graph.ImportGraph(contents, digests, memory)
    files = [path for path in dag_files.list_dag_files(folder) if path in digests]
    closures = {path: found.of(path) for path in files}
    return UnpackedRelease(
        bundle=bundle,
        id=release,
        folder=folder,
        digests=digests,
        intervals={path: seconds for path in files if (seconds := directives.read_interval(contents[path]))},
        closures=closures,
        codes={path: dag_parser.key_code(path, closures[path], digests, environment) for path in files},
        refused=scan.refused,
    )


def collect(
    release: UnpackedRelease, parser: Parser, *, again: Iterable[str] = (), twice: bool = False
) -> ParseResults:
    """Return the results of all Dag files; parse those that are not in the cache and those named in `again`.

    With `twice`, parse each of these files two times, and list the Dags that differ as `unstable`. No result in the
    cache that comes from one load, such as that of `deploy --no-check`, counts then. Its Dags stay: they may be live.
    """
    forced = frozenset(again)
    keys = find_keys(release)
    kept = {path: one for path, one in read_summaries(keys).items() if path not in forced}
    summaries = {path: one for path, one in kept.items() if one.get("is_compared") or not twice}
    missing = [path for path in release.codes if path not in summaries]
    for path, key in parse_files(release, parser, missing, twice=twice):
        if keys.get(path, key) != key:
            forget(keys[path])  # the file read other files this time; `find_keys` would still find the old result
        keys[path] = key
    summaries |= read_summaries({path: keys[path] for path in missing})
    return ParseResults(summaries, {path: keys[path] for path in summaries}, frozenset(missing))


def find_keys(release: UnpackedRelease) -> dict[str, str]:
    """Return the cache key of each Dag file whose code and read files were parsed before with the same contents."""
    with metadata_db.open_session() as session:
        rows = {
            row.key: row.result["reads"] for row in run(session, SQL["read_raw"], keys=list(release.codes.values()))
        }
        candidates = {
            dag_parser.key_result(code, json.loads(reads), release.digests): path
            for path, code in release.codes.items()
            for reads in rows.get(code, ())
        }
        known = run(session, "SELECT key FROM airfleet.parsed WHERE key = ANY(%(keys)s::text[])", keys=list(candidates))
        return {candidates[key]: key for (key,) in known}


def read_summaries(keys: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """Return the results by path, without the serialised Dags."""
    if not keys:
        return {}
    paths = {key: path for path, key in keys.items()}
    with metadata_db.open_session() as session:
        return {paths[row.key]: row.summary for row in run(session, SQL["read_summaries"], keys=list(paths))}


def parse_files(
    release: UnpackedRelease, parser: Parser, paths: Sequence[str], *, twice: bool
) -> Iterable[tuple[str, str]]:
    """Parse Dag files and store the results in batches; yield the path and the key of each stored result."""
    if not paths:
        return
    limit = float(config.read_setting("dag_processor", "dag_file_processor_timeout", "50"))
    batch: list[ParseResult] = []
    stored = time.monotonic()
    outcomes = parser.parse(release.folder, release.bundle, paths, release.closures, twice=twice, timeout_s=limit)
    for outcome in outcomes:
        batch.append(read_answer(release, outcome))
        if len(batch) >= BATCH or time.monotonic() - stored > BATCH_S:
            store(batch, twice=twice)
            yield from ((answer.path, answer.key) for answer in batch)
            batch, stored = [], time.monotonic()
    store(batch, twice=twice)
    yield from ((answer.path, answer.key) for answer in batch)


@dataclass(frozen=True, slots=True)
class ParseResult:
    """A child's parse result of one Dag file, with the keys under which it is stored."""

    path: str
    code: str
    reads: str
    key: str
    result: str


def read_answer(release: UnpackedRelease, outcome: fork_pool.ItemOutcome) -> ParseResult:
    """Return the answer of a child; if the child died, timed out or wrote nonsense, return a result that says so.

    A child has executed the code of a Dag file, so its answer may be any bytes.
    """
    reads, result = "[]", ""
    error = outcome.error or ""
    if outcome.answer is not None:
        try:
            reads, result = outcome.answer.decode().split("\n", 1)
            _require_texts(json.loads(reads))
            _check_result(json.loads(result))
        except (ValueError, RecursionError):
            reads, result = "[]", ""
            error = "The process that parsed it gave no valid result."
    if not result:
        result = json.dumps(dag_parser.describe_failure(outcome.item, error, outcome.seconds))
    code = release.codes[outcome.item]
    return ParseResult(
        outcome.item, code, reads, dag_parser.key_result(code, json.loads(reads), release.digests), result
    )


def _require_texts(found: object) -> None:
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError("no list of texts")


def _check_result(result: object) -> None:
    """Raise ValueError unless a result has the shape that `dag_parser` gives it."""
    match result:
        case {
            "error": None | str(),
            "seconds": int() | float(),
            "warnings": warnings,
            "unstable": unstable,
            "is_compared": bool(),
            "accesses": list() as accesses,
            "dags": dict() as dags,
        }:
            _require_texts(warnings)
            _require_texts(unstable)
        case _:
            raise ValueError("no result")
    for access in accesses:
        match access:
            case {"kind": str(), "what": str(), "line": None | int()}:
                continue
            case _:
                raise ValueError("no access")
    for dag_id, one in dags.items():
        match one:
            case {"hash": str(), "data": {"dag": {"dag_id": str(said)}}} if said == dag_id:
                continue
            case _:
                raise ValueError(f"no Dag: {dag_id}")


def store(answers: Sequence[ParseResult], *, twice: bool) -> None:
    """Store results in the cache; a result that PostgreSQL refuses becomes one that says so.

    A result of two loads (`twice`) adds to a kept one which of its Dags differ. It replaces a kept error.
    """
    try:
        _store(answers, twice=twice)
    except DBAPIError as error:
        if not db_errors.is_unstorable(error):
            raise
    else:
        return
    for one in answers:
        try:
            _store([one], twice=twice)
        except DBAPIError as error:
            if not db_errors.is_unstorable(error):
                raise
            _store([_explain_refusal(one, error)], twice=twice)


def _explain_refusal(answer: ParseResult, error: DBAPIError) -> ParseResult:
    said = str(error.orig).partition("\n")[0]
    why = f"The database cannot store what it defines, such as a NUL character in a text: {said}"
    failure = dag_parser.describe_failure(answer.path, dag_parser.clean(why), 0.0)
    return replace(answer, result=json.dumps(failure))


def _store(answers: Sequence[ParseResult], *, twice: bool) -> None:
    keys, results = [one.key for one in answers], [one.result for one in answers]
    with metadata_db.open_session() as session:
        run(session, SQL["store_result"], keys=keys, results=results, twice=twice)
        run(session, SQL["store_reads"], keys=[one.code for one in answers], reads=[one.reads for one in answers])


def forget(key: str) -> None:
    """Remove one result from the cache."""
    with metadata_db.open_session() as session:
        run(session, "DELETE FROM airfleet.parsed WHERE key = %(key)s", key=key)
