"""What a Dag file reads while it is loaded is refused by the lists of fleet.yaml, and becomes the error of the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from airflow.sdk import Connection, Variable
from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

from airfleet_provider.compat.calls import parsing
from airfleet_provider.compat.patches import parsing as patches
from airfleet_provider.compat.patches.patch import undo
from airfleet_provider.releases.parser_process import ANEW, ANY_FILE, KEPT, Parser


def test_the_file_decides_what_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, bool, str]] = []

    def check(kind: str, name: str, is_written: bool, file: str) -> None:
        asked.append((kind, name, is_written, file))
        if file != "a/x.py":
            raise PermissionError("not this file")

    monkeypatch.setattr(parsing, "look_up", lambda question: {"value": question["name"]})
    parser = Parser(check=check)
    question = {"kind": "variable", "name": "key", "files": ["a/x.py"]}
    assert parser._answer(question) == {"value": "key", KEPT: True}
    other = {**question, "files": ["b.py"]}
    for refused in (other, {**question, "kind": "connection", "files": [7]}, {"kind": "variable"}):
        assert parser._answer(refused) == {"refused": "not this file"}
    assert parser._answer({**other, "file": "a/x.py"}) == {"refused": "not this file"}, "a name that the child chose"
    assert asked[:2] == [("variables", "key", False, "a/x.py"), ("variables", "key", False, ANY_FILE)]
    assert {kind for kind, *_ in asked} == {"variables", "connections"}


def test_a_child_that_has_executed_a_file_without_the_right_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(_: str, __: str, ___: bool, file: str) -> None:
        if file in ("hostile.py", ANY_FILE):
            raise PermissionError("not this file")

    monkeypatch.setattr(parsing, "look_up", lambda question: {"value": question["name"]})
    parser = Parser(check=check)
    question = {"kind": "variable", "name": "key"}
    assert parser._answer({**question, "files": ["hostile.py", "a/x.py"]}) == ANEW
    assert parser._answer({**question, "files": ["other.py", "a/x.py"]}) == {"value": "key", KEPT: True}
    assert Parser()._answer({**question, "files": ["other.py", "a/x.py"]}) == {"value": "key"}, "no list keeps it"


def test_a_refusal_is_no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"refused": "a list keeps it"}

    patches.answer_lookups(ask, lambda *_: None)
    try:
        with pytest.raises(AirflowSecretsBackendAccessDenied, match="a list keeps it"):
            Variable.get("key", default="default")
        with pytest.raises(AirflowSecretsBackendAccessDenied, match="a list keeps it"):
            Connection.get("db")
    finally:
        undo(patches.LOOKUPS)
