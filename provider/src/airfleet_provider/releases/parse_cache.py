"""The parse results of a release: from the cache where nothing that they depend on has changed, parsed otherwise."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airfleet_provider.compat.calls import config, dag_files, metadata_db
from airfleet_provider.contract import directives, release_archive
from airfleet_provider.database import run
from airfleet_provider.processes import fork_pool
from airfleet_provider.releases import dag_parser, import_graph
from airfleet_provider.releases.parser_process import Parser
from airfleet_provider.releases.publish import Dag

# A releaser that is killed parses at most this much again.
BATCH, BATCH_S = 50, 0.5

# All but the serialised Dags themselves, which are large and seldom needed.
READ_SUMMARIES = """
SELECT key, result - 'dags' || jsonb_build_object('dags', COALESCE((
    SELECT jsonb_object_agg(d.key, jsonb_build_object(
        'hash', d.value -> 'hash', 'rewritten', d.value -> 'data' -> 'dag' ->> 'deadline' IS NOT NULL))
    FROM jsonb_each(result -> 'dags') d), '{}')) AS summary
FROM airfleet.parsed WHERE key = ANY(%(keys)s::text[])
"""
READ_RAW = "SELECT key, result FROM airfleet.parsed WHERE key = ANY(%(keys)s::text[])"
READ_DATA = """
SELECT w.n, p.result -> 'dags' -> w.dag_id -> 'data' AS data
FROM unnest(%(keys)s::text[], %(dags)s::text[]) WITH ORDINALITY AS w(key, dag_id, n)
JOIN airfleet.parsed p ON p.key = w.key ORDER BY w.n
"""
STORE_RESULT = """
INSERT INTO airfleet.parsed (key, result)
SELECT n.key, n.result::jsonb FROM unnest(%(keys)s::text[], %(results)s::text[]) AS n(key, result)
ON CONFLICT (key) DO UPDATE SET result = excluded.result, created_at = now()
"""
# A file may have read different files each time: the sets of them are the keys of an object.
STORE_READS = """
INSERT INTO airfleet.parsed AS p (key, result)
SELECT n.key, jsonb_build_object('reads', jsonb_build_object(n.reads, true))
FROM unnest(%(keys)s::text[], %(reads)s::text[]) AS n(key, reads)
ON CONFLICT (key) DO UPDATE
SET result = jsonb_build_object('reads', (p.result -> 'reads') || (excluded.result -> 'reads'))
"""


@dataclass(frozen=True, slots=True)
class UnpackedRelease:
    """A release on this host, with what its Dag files depend on."""

    bundle: str
    id: str
    folder: Path
    digests: Mapping[str, str]
    intervals: Mapping[str, int]
    closures: Mapping[str, frozenset[str]]
    codes: Mapping[str, str]
    # What lies there and may not be part of a release; a release has nothing of the kind.
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ParseResults:
    """One result for each Dag file, without the serialised Dags, and the key under which the whole of it is kept."""

    summaries: Mapping[str, Mapping[str, Any]]
    keys: Mapping[str, str]
    parsed: frozenset[str]

    def errors(self) -> dict[str, str]:
        """Why files do not load, by path; two files with the same Dag are an error of the later one."""
        found = {path: one["error"] for path, one in self.summaries.items() if one["error"]}
        owner: dict[str, str] = {}
        for path in sorted(self.summaries):
            for dag_id in self.summaries[path]["dags"] if path not in found else ():
                if dag_id in owner:
                    found[path] = f"{path}: the Dag {dag_id} is in {owner[dag_id]} already"
                owner.setdefault(dag_id, path)
        return found

    def dags(self) -> tuple[Dag, ...]:
        """The Dags of all files without an error, sorted by id."""
        broken = self.errors()
        return tuple(
            Dag(dag_id, path, dag["hash"], float(one["seconds"]), is_rewritten=bool(dag["rewritten"]))
            for path, one in self.summaries.items()
            if path not in broken
            for dag_id, dag in one["dags"].items()
        )

    def hashes(self) -> dict[str, str]:
        """The hash of each Dag."""
        return {dag.dag_id: dag.hash for dag in self.dags()}

    def load(self, dags: Sequence[Dag]) -> list[dict[str, Any]]:
        """What Airflow stores of each of these Dags."""
        with metadata_db.open_session() as session:
            keys = [self.keys[dag.path] for dag in dags]
            rows = run(session, READ_DATA, keys=keys, dags=[dag.dag_id for dag in dags])
            return [row.data for row in rows]


def inspect(
    bundle: str, release: str, folder: Path, environment: str, memory: dict[object, import_graph.Imports] | None = None
) -> UnpackedRelease:
    """Read an unpacked release, or a project's folder; nothing of it is executed."""
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
    """The results of all Dag files; only those without one, and those to be parsed `again`, are executed."""
    forced = frozenset(again)
    keys = find_keys(release)
    summaries = {path: one for path, one in read_summaries(keys).items() if path not in forced}
    missing = [path for path in release.codes if path not in summaries]
    for path, key in parse_files(release, parser, missing, twice=twice):
        if keys.get(path, key) != key:
            forget(keys[path])  # it has read other files this time, and the old result would still be found
        keys[path] = key
    summaries |= read_summaries({path: keys[path] for path in missing})
    return ParseResults(summaries, {path: keys[path] for path in summaries}, frozenset(missing))


def find_keys(release: UnpackedRelease) -> dict[str, str]:
    """The key of a result for each Dag file that was ever parsed with this code and these files to read."""
    with metadata_db.open_session() as session:
        rows = {row.key: row.result["reads"] for row in run(session, READ_RAW, keys=list(release.codes.values()))}
        candidates = {
            dag_parser.key_result(code, json.loads(reads), release.digests): path
            for path, code in release.codes.items()
            for reads in rows.get(code, ())
        }
        known = run(session, "SELECT key FROM airfleet.parsed WHERE key = ANY(%(keys)s::text[])", keys=list(candidates))
        return {candidates[key]: key for (key,) in known}


def read_summaries(keys: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """Results by path, without the serialised Dags."""
    if not keys:
        return {}
    paths = {key: path for path, key in keys.items()}
    with metadata_db.open_session() as session:
        return {paths[row.key]: row.summary for row in run(session, READ_SUMMARIES, keys=list(paths))}


def parse_files(
    release: UnpackedRelease, parser: Parser, paths: Sequence[str], *, twice: bool
) -> Iterable[tuple[str, str]]:
    """Have Dag files parsed and store each result as soon as it is there; path and key of each."""
    if not paths:
        return
    limit = float(config.read_setting("dag_processor", "dag_file_processor_timeout", "50"))
    batch: list[Answer] = []
    stored = time.monotonic()
    outcomes = parser.parse(release.folder, release.bundle, paths, release.closures, twice=twice, timeout_s=limit)
    for outcome in outcomes:
        batch.append(read_answer(release, outcome))
        if len(batch) >= BATCH or time.monotonic() - stored > BATCH_S:
            store(batch)
            yield from ((answer.path, answer.key) for answer in batch)
            batch, stored = [], time.monotonic()
    store(batch)
    yield from ((answer.path, answer.key) for answer in batch)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child found out about a Dag file, and under which keys it is kept."""

    path: str
    code: str
    reads: str
    key: str
    result: str


def read_answer(release: UnpackedRelease, outcome: fork_pool.ItemOutcome) -> Answer:
    """The answer of a child, or one in place of it when the child did not live to give it."""
    if outcome.answer is None:
        reads = "[]"
        result = json.dumps(dag_parser.describe_failure(outcome.item, outcome.error or "", outcome.seconds))
    else:
        reads, result = outcome.answer.decode().split("\n", 1)
    code = release.codes[outcome.item]
    return Answer(outcome.item, code, reads, dag_parser.key_result(code, json.loads(reads), release.digests), result)


def store(answers: Sequence[Answer]) -> None:
    """Keep results, to be found again by whoever parses the same."""
    with metadata_db.open_session() as session:
        run(session, STORE_RESULT, keys=[one.key for one in answers], results=[one.result for one in answers])
        run(session, STORE_READS, keys=[one.code for one in answers], reads=[one.reads for one in answers])


def forget(key: str) -> None:
    """Drop one result."""
    with metadata_db.open_session() as session:
        run(session, "DELETE FROM airfleet.parsed WHERE key = %(key)s", key=key)
