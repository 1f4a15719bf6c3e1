"""YAML is read into plain data with line numbers."""

from __future__ import annotations

import pytest

from airfleet.errors import SpecError
from airfleet.spec import yaml_document

MERGED = """\
x-base: &base
  login: reader
  port: 5432
connections:
  crm:
    <<: *base
    port: 5433
  erp:
    - first
    -
      second
"""


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n", "---\n", "{}"])
def test_an_empty_file_is_an_empty_map(text: str) -> None:
    assert yaml_document.parse(text, file="f").data == {}


def test_merge_keys_work_and_own_keys_win() -> None:
    crm = yaml_document.parse(MERGED, file="f").data["connections"]
    assert crm == {"crm": {"login": "reader", "port": 5433}, "erp": ["first", "second"]}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("connections",), 4),
        (("connections", "crm", "port"), 7),
        (("connections", "crm", "login"), 2),  # where the merged value is, which is where to mend it
        (("connections", "crm", "password"), 5),  # not in the file: the nearest ancestor
        (("connections", "erp", 1), 11),
        (("nowhere", "at", "all"), 1),
    ],
)
def test_each_path_has_its_line(path: yaml_document.Path, line: int) -> None:
    assert yaml_document.parse(MERGED, file="f").line(path) == line


@pytest.mark.parametrize("text", ["no", "on", "Y", "0777", "12:30", "2026-01-31", "1_000", "0x1F", ".inf", "9" * 5000])
def test_yaml_1_1_surprises_stay_text(text: str) -> None:
    assert yaml_document.parse(f"key: {text}", file="f").data == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("-7", -7), ("0", 0), ("0.5", 0.5), ("1e3", 1000.0), ("~", None), ("", None), ('"1"', "1")],
)
def test_plain_scalars_have_their_types(text: str, value: object) -> None:
    found = yaml_document.parse(f"key: {text}", file="f").data["key"]
    assert (found, type(found)) == (value, type(value))


def test_every_duplicate_key_is_reported_with_its_first_line() -> None:
    text = "name: a\nports:\n  api: 1\n  api: 2\nname: b\nname: c\n"
    found = [(problem.line, problem.path, problem.what) for problem in yaml_document.parse(text, file="f").duplicates]
    assert found == [
        (4, "ports.api", "the key 'api' is given twice, first in line 3"),
        (5, "name", "the key 'name' is given twice, first in line 1"),
        (6, "name", "the key 'name' is given twice, first in line 1"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a:\n\t- b", 2, "indent with spaces"),
        ("a: 1\nb: c: d", 2, "quote a text that holds ': '"),
        ("a: 'x\nb: 1\n", 3, "not valid YAML"),
        ("a: *gone", 1, "undefined alias 'gone'"),
        ("a: 1\n---\nb: 2", 2, "keep one document"),
        ("a: 1\nb: \x00", 2, "a character that YAML does not allow"),
        ("\n- a\n- b", 2, "expected a map of keys"),
        ("text", 1, "expected a map of keys"),
        ("a: 1\nb: !vault x", 2, "the tag !vault is not supported"),
        ("a: !!python/object/apply:os.getcwd []", 1, "the tag !!python/object/apply:os.getcwd is not supported"),
        ("a: !!set {b}", 1, "the tag !!set is not supported"),
        ("a: !!int five", 1, "a tag does not fit its value"),
        ("a: 1\n2: b", 2, "a key must be text, found 2"),
        ("? [a]\n: b", 1, "a key must be text, found a list or a map"),
        ("a: &a\n  b: *a", 1, "an alias may not contain itself"),
        ("a: {<<: 3}", 1, "expected a mapping or list of mappings for merging"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        yaml_document.parse(text, file="fleet.yaml")
    assert words in str(caught.value)
    assert caught.value.problems[0].line == line
