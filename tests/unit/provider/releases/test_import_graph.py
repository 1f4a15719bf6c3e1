"""What a Dag file depends on, and when it wants to be evaluated again."""

from __future__ import annotations

import hashlib

import pytest

from airfleet_provider.releases import dag_parser, import_graph


def close(path: str, **files: str) -> set[str]:
    contents = {name: text.encode() for name, text in files.items()}
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in contents.items()}
    return set(import_graph.ImportGraph(contents, digests).of(path))


def project(code: str, **more: str) -> dict[str, str]:
    return {
        "dags/x.py": code,
        "dags/helper.py": "",
        "dags/parts/__init__.py": "",
        "dags/parts/one.py": "from . import two",
        "dags/parts/two.py": "from ..helper import thing",
        "include/__init__.py": "",
        "include/a.py": "import include.b",
        "include/b.py": "",
        "include/c.py": "",
        "include/data.txt": "",
        **more,
    }


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import json", set()),
        ("from include.c import d", {"include/__init__.py", "include/c.py"}),
        ("from include import c", {"include/__init__.py", "include/c.py"}),
        ("import include.a as a", {"include/__init__.py", "include/a.py", "include/b.py"}),
        ("def f():\n    from include import b", {"include/__init__.py", "include/b.py"}),
        ("import helper", {"dags/helper.py"}),
        ("from dags import helper", {"dags/helper.py"}),
        (
            "from dags.parts.one import x",
            {"dags/parts/__init__.py", "dags/parts/one.py", "dags/parts/two.py", "dags/helper.py"},
        ),
        ("import importlib\nimportlib.import_module('include.b')", {"include/__init__.py", "include/b.py"}),
        ("syntax error here", set()),
    ],
)
def test_a_closure_follows_imports_within_the_release(code: str, expected: set[str]) -> None:
    assert close("dags/x.py", **project(code)) == expected | {"dags/x.py"}


@pytest.mark.parametrize(
    "code",
    [
        "import importlib\nfor n in 'bc': importlib.import_module(f'include.{n}')",
        "__import__(name)",
        "import sys\nsys.path.append('include')",
        "from include import *",
        "exec(text)",
    ],
)
def test_what_only_running_it_would_tell_depends_on_every_file(code: str) -> None:
    files = project(code)
    assert close("dags/x.py", **files) == set(files)
    files = project("import include.b", **{"include/b.py": code})
    assert close("dags/x.py", **files) == set(files)


def test_files_that_import_each_other_end() -> None:
    files = {"dags/x.py": "import include.a", "include/a.py": "import include.b", "include/b.py": "import include.a"}
    assert close("dags/x.py", **files) == set(files)


def test_what_was_read_once_is_not_read_again_in_the_next_release() -> None:
    contents = {"dags/x.py": b"import include.a", "include/a.py": b""}
    memory: dict[object, import_graph.Imports] = {}
    digests = {"dags/x.py": "1", "include/a.py": "2"}
    import_graph.ImportGraph(contents, digests, memory).of("dags/x.py")
    known = dict(memory)
    import_graph.ImportGraph({**contents, "dags/x.py": b""}, {**digests, "dags/x.py": "3"}, memory).of("dags/x.py")
    assert len(memory) == len(known) + 1
    import_graph.ImportGraph({**contents, "include/new.py": b""}, {**digests, "include/new.py": "4"}, memory).of(
        "dags/x.py"
    )
    assert len(memory) == len(known) + 3


def test_a_key_changes_with_all_that_a_result_depends_on_and_nothing_else() -> None:
    digests = {"dags/x.py": "1", "include/a.py": "2", "include/data.txt": "3", "other.txt": "4"}
    files = ("dags/x.py", "include/a.py")
    code = dag_parser.key_code("dags/x.py", files, digests, "here")
    assert code == dag_parser.key_code("dags/x.py", reversed(files), {**digests, "other.txt": "5"}, "here")
    assert code != dag_parser.key_code("dags/x.py", files, {**digests, "include/a.py": "5"}, "here")
    assert code != dag_parser.key_code("dags/y.py", files, digests, "here")
    assert code != dag_parser.key_code("dags/x.py", files, digests, "elsewhere")

    result = dag_parser.key_result(code, ["include/data.txt"], digests)
    assert result != code
    assert result == dag_parser.key_result(code, ["include/data.txt"], {**digests, "other.txt": "5"})
    assert result != dag_parser.key_result(code, ["include/data.txt"], {**digests, "include/data.txt": "5"})
    assert result != dag_parser.key_result(code, [], digests)


def test_a_folder_that_was_listed_is_its_names() -> None:
    digests = {"include/a": "1", "include/deep/b": "2"}
    listed = dag_parser.digest_read("include/", digests)
    assert listed == dag_parser.digest_read(
        "include/", {**digests, "include/a": "9", "include/deep/c": "3", "dags/x": "4"}
    )
    assert listed != dag_parser.digest_read("include/", {**digests, "include/new": "1"})
    assert dag_parser.digest_read("/", digests) != dag_parser.digest_read("/", {**digests, "dags/x": "1"})
