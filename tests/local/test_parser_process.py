"""The process that executes Dag files: what it knows, and what one file can do to the process and to other files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from airfleet_provider.compat.calls import parsing
from airfleet_provider.releases.parser_process import Parser
from parsers import parse, serve

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parser]:
    with serve(tmp_path_factory.mktemp("bundles")) as parser:
        yield parser


def test_lookups_are_answered_by_the_one_who_asked_for_the_parse(
    parser: Parser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def look_up(question: Mapping[str, object]) -> dict[str, object]:
        asked.append(question)
        return {"value": "green"} if question["name"] == "colour" else {}

    monkeypatch.setattr(parsing, "look_up", look_up)
    more = "from airflow.sdk import Variable; assert [Variable.get(x, default=None) for x in ('colour', 'size')] == {}"
    found = parse(parser, tmp_path, {"a": more.format(["green", None])})
    assert b'"error": null' in (found["a"].answer or b""), found
    # Lists of variables are by file, too.
    assert asked == [{"kind": "variable", "name": name, "files": ["dags/a.py"]} for name in ("colour", "size")]


def test_what_a_list_keeps_for_a_file_is_in_no_memory_of_the_next(
    parser: Parser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: str, __: str, ___: bool, file: str) -> None:
        if file != "dags/a.py":
            raise PermissionError("a list keeps it")

    monkeypatch.setattr(parsing, "look_up", lambda question: {"value": "green"} if question["name"] == "colour" else {})
    monkeypatch.setattr(parser, "check", check)
    # So that one child has all files.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    honest = (
        "import builtins; from airflow.sdk import Variable;"
        "assert Variable.get('size', default=None) is None; builtins.left = Variable.get('colour')"
    )
    hostile = "import builtins; assert not hasattr(builtins, 'left')"
    found = parse(parser, tmp_path, {"a": honest, "b": hostile, "c": hostile})
    for name in ("a", "b", "c"):
        assert b'"error": null' in (found[name].answer or b""), found


def test_a_name_that_nothing_can_have_costs_the_file_that_asks_for_it_only(parser: Parser, tmp_path: Path) -> None:
    odd = "from airflow.sdk import Variable; assert Variable.get('a\\0', default='none') == 'none'"
    found = parse(parser, tmp_path, {"a": "", "b": odd, "c": ""})
    for name in ("a", "b", "c"):
        assert b'"error": null' in (found[name].answer or b""), found
    # What the file asked for is stored with its result, and the database holds no NUL character.
    assert b"u0000" not in (found["b"].answer or b"")


def test_a_lookup_that_cannot_be_made_is_no_answer(
    parser: Parser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(_: object) -> dict[str, object]:
        raise ConnectionError("the database is away")

    monkeypatch.setattr(parsing, "look_up", look_up)
    more = "from airflow.sdk import Variable; Variable.get('colour', default='never')"
    with pytest.raises(ConnectionError):
        parse(parser, tmp_path, {"a": more})
    monkeypatch.setattr(parsing, "look_up", lambda _: {"value": "green"})
    assert parse(parser, tmp_path, {"a": more})["a"].answer, "the next job is not told the last one's outcomes"


def test_a_file_that_ends_the_whole_process_costs_itself_only(parser: Parser, tmp_path: Path) -> None:
    murder = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    found = parse(parser, tmp_path, {"a": "", "b": murder, "c": ""})
    assert found["b"].answer is None
    assert "was ended" in str(found["b"].error)
    for name in ("a", "c"):
        _, _, result = (found[name].answer or b"").partition(b"\n")
        assert json.loads(result)["dags"].keys() == {name}
