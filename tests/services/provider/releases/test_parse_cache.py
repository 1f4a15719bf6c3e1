"""What a Dag file may make of its parse result, and what the database then holds of it and of the other files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.processes.fork_pool import ItemOutcome
from airfleet_provider.releases import dag_parser, parse_cache
from servers import serve_own

Sessions = Callable[[], AbstractContextManager[Session]]
PATH, OTHER = "dags/a.py", "dags/b.py"
GOOD: dict[str, Any] = {
    **{"path": PATH, "error": None, "seconds": 0.1, "warnings": [], "accesses": []},
    **{"unstable": [], "is_compared": False},
    "dags": {"a": {"hash": "h", "data": {"dag": {"dag_id": "a", "doc_md": ""}}}},
}


@pytest.fixture(scope="module")
def sessions() -> Iterator[Sessions]:
    with serve_own() as server:
        engine = create_engine(server.dsn.replace("postgresql://", "postgresql+psycopg2://"))

        @contextmanager
        def open_session() -> Iterator[Session]:
            with Session(engine) as session, session.begin():
                yield session

        yield open_session
        engine.dispose()


class Answers:
    """A parser whose children answer so."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = {PATH: answers["a"], OTHER: answers["b"]}

    def parse(self, _folder: Path, _bundle: str, paths: list[str], *_: object, **__: object) -> Iterator[ItemOutcome]:
        return (ItemOutcome(path, self.answers[path], None, 0.1) for path in paths)


def write(result: object, reads: object = ()) -> bytes:
    return f"{json.dumps(list(reads))}\n{json.dumps(result)}".encode()  # type: ignore[call-overload]


def with_text(text: str) -> dict[str, Any]:
    return {**GOOD, "dags": {"a": {"hash": "h", "data": {"dag": {"dag_id": "a", "doc_md": text}}}}}


@pytest.mark.parametrize(
    "answer",
    [
        write(with_text("a NUL: \0")),
        write(with_text("half a letter: \ud83d")),
        write(GOOD).replace(b"0.1", b"NaN"),
        write(GOOD).replace(b"0.1", b"1e200000"),
        write({**GOOD, "dags": 5}),
        write({**GOOD, "dags": {"a": {"hash": "h", "data": {"dag": {"dag_id": "b"}}}}}),
        write({**GOOD, "dags": {"a": {"hash": "h", "data": {"dag": 5}}}}),
        write({**GOOD, "accesses": [{"kind": 5}]}),
        write({**GOOD, "seconds": "long"}),
        write(GOOD, reads=[5]),
        b"no second line",
        b"\xff\xfe\n{}",
        b"[]\n" + b"[" * 100_000,
    ],
)
def test_a_file_with_an_odd_result_costs_itself_only(
    answer: bytes, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_db, "open_session", sessions)
    digests = {PATH: repr(answer), OTHER: repr(answer)}
    closures = {path: frozenset({path}) for path in digests}
    codes = {path: dag_parser.key_code(path, closures[path], digests, "") for path in digests}
    release = parse_cache.UnpackedRelease("shop", "r1", Path(), digests, {}, closures, codes, {})
    other = {**GOOD, "path": OTHER, "dags": {"b": {"hash": "h", "data": {"dag": {"dag_id": "b"}}}}}
    parser: Any = Answers(a=answer, b=write(other))
    for _ in range(2):  # the second time the results come from the database
        found = parse_cache.collect(release, parser)
        assert found.errors().keys() == {PATH}
        assert found.errors()[PATH].startswith(f"{PATH}: ")
        assert [dag.dag_id for dag in found.dags()] == ["b"]
        assert found.load(found.dags()) == [{"dag": {"dag_id": "b"}}]


def test_an_ordinary_result_is_kept_as_it_is(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_db, "open_session", sessions)
    release = parse_cache.UnpackedRelease("shop", "r1", Path(), {}, {}, {}, {PATH: "code"}, {})
    parser: Any = Answers(a=write(with_text("a word: \\u0000")), b=b"")
    found = parse_cache.collect(release, parser)
    assert found.errors() == {}
    assert found.load(found.dags()) == [{"dag": {"dag_id": "a", "doc_md": "a word: \\u0000"}}]


def test_a_check_takes_no_result_of_one_load_and_leaves_its_dags(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_db, "open_session", sessions)
    release = parse_cache.UnpackedRelease("shop", "r1", Path(), {}, {}, {}, {PATH: "deployed without a check"}, {})
    differs = {"a": {"hash": "another", "data": {"dag": {"dag_id": "a", "doc_md": "another"}}}}
    once: Any = Answers(a=write(GOOD), b=b"")
    away: Any = Answers(a=write({**GOOD, "dags": {}, "error": "no host"}), b=b"")
    twice: Any = Answers(a=write({**GOOD, "unstable": ["a"], "is_compared": True, "dags": differs}), b=b"")
    assert parse_cache.collect(release, once).parsed == {PATH}
    for parser, parsed, unstable in ((away, {PATH}, []), (twice, {PATH}, ["a"]), (twice, set(), ["a"])):
        found = parse_cache.collect(release, parser, twice=True)
        assert (found.parsed, found.summaries[PATH]["unstable"]) == (parsed, unstable)
        assert (found.errors(), found.hashes()) == ({}, {"a": "h"})
    assert parse_cache.collect(release, once).parsed == set()


def test_a_check_replaces_an_error(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_db, "open_session", sessions)
    release = parse_cache.UnpackedRelease("shop", "r1", Path(), {}, {}, {}, {PATH: "failed at first"}, {})
    answers = [{**GOOD, "dags": {}, "error": "no host"}, {**GOOD, "is_compared": True}]
    for answer, hashes in zip(answers, ({}, {"a": "h"}), strict=True):
        parser: Any = Answers(a=write(answer), b=b"")
        assert parse_cache.collect(release, parser, twice=True).hashes() == hashes


def test_what_a_file_says_is_kept_in_letters_that_the_database_can_hold() -> None:
    assert dag_parser.clean("\0 \udcff \ud83d \U0001f600 ü") == "\\x00 \\udcff \\ud83d \U0001f600 ü"
