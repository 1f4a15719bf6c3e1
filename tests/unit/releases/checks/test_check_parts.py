"""Templates, tracebacks and the lines of Dags and tasks."""

from __future__ import annotations

import pytest

from airfleet.releases.checks import import_hints, tracebacks, usages
from airfleet.releases.checks.inputs import Access, ParsedFile
from airfleet.releases.checks.source import SourceFile
from small_releases import catch, make_facts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{ var.value.a }}", [("variable", "a")]),
        ("{{ var.json.a.b }} {{ conn.c.host }}", [("variable", "a"), ("connection", "c")]),
        ("{% if var.value['a-b'] %}", [("variable", "a-b")]),
        ("{{ var.value.get('a') }}", [("variable", "a")]),
        ("{{ var.value.get('a', 'fallback') }}", []),
        ("{{ conn.get('a') }}", []),
        ("var.value.a", []),
        ("{{ my.var.value.a }} {{ conn_x.y }}", []),
    ],
)
def test_templates(text: str, found: list[tuple[str, str]]) -> None:
    assert list(usages.find_in_text(text)) == found


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ('BaseHook.get_connection("a")', ["a"]),
        ('Hook.get_connection(conn_id="a")', ["a"]),
        ('Op(postgres_conn_id="a", aws_conn_id=None, x_conn_id="{{ y }}")', ["a"]),
        ('args = {"conn_id": "a"}', ["a"]),
        ('Op(bash_command="{{ conn.a }}", doc_md="{{ conn.b }}")', ["a"]),
        ('"""{{ conn.a }}"""', []),
        ('pool.get_connection("a")', []),
    ],
)
def test_connections_in_code(code: str, names: list[str]) -> None:
    assert [one.name for one in usages.find_in_source(SourceFile("dags/x.py", code))] == names


def test_a_variable_that_a_dag_sets_is_not_missing() -> None:
    assert not catch(make_facts('Variable.set("mark", 1)\nVariable.get("mark")'), "missing-variable")


PLACES = """\
@dag
def one():
    @task
    def load(): ...

@dag(dag_id="second", schedule=None)
def two():
    Bash(task_id="load")
    Bash(task_id=f"copy_{x}")

with DAG(name()) as third:
    pass
"""


@pytest.mark.parametrize(("dag", "line"), [("one", 1), ("second", 6), ("computed", 11)])
def test_the_line_of_a_dag(dag: str, line: int) -> None:
    assert SourceFile("dags/x.py", PLACES).dag_line(dag) == line


@pytest.mark.parametrize(
    ("task", "dag", "line"),
    [
        ("load", "one", 3),
        ("load__1", "one", 3),
        ("load", "second", 8),
        ("group.load", "second", 8),
        ("copy_7", "second", 9),
        ("unknown", "second", 6),
    ],
)
def test_the_line_of_a_task(task: str, dag: str, line: int) -> None:
    assert SourceFile("dags/x.py", PLACES).task_line(task, dag) == line


def test_a_file_that_is_no_python_has_line_1() -> None:
    assert SourceFile("dags/x.py", "def f(:").dag_line("x") == 1


IMPORTED = """\
Traceback (most recent call last):
  File "<frozen importlib._bootstrap>", line 241, in _call_with_frames_removed
  File "/srv/r1/dags/x.py", line 2, in <module>
    from include.y import z
  File "/srv/r1/include/y.py", line 5, in <module>
    1 / 0
    ~~^~~
  File "/usr/lib/python3/other.py", line 99, in inner
ZeroDivisionError: division
by zero
"""


def test_the_last_frame_of_the_release_counts() -> None:
    failure = tracebacks.read(IMPORTED, files=("dags/x.py", "include/y.py"), own="dags/x.py")
    assert failure == tracebacks.LoadFailure("ZeroDivisionError", "division", "include/y.py", 5)


def test_a_chain_ends_with_what_was_raised_last() -> None:
    chain = "Traceback:\n  File \"/r/dags/x.py\", line 1\nKeyError: 'A'\n\nDuring handling of it:\n\n" + IMPORTED
    failure = tracebacks.read(chain, files=("include/y.py",), own="dags/x.py")
    assert (failure.kind, failure.line) == ("ZeroDivisionError", 5)


@pytest.mark.parametrize(
    ("raised", "hint"),
    [
        ("ModuleNotFoundError: No module named 'yaml'", "add pyyaml to requirements.txt"),
        ("ModuleNotFoundError: No module named 'airflow.operators.bash_operator'", "moved or removed this module"),
        ("ModuleNotFoundError: No module named 'airflow.providers.amazon'", "apache-airflow-providers-amazon"),
        ("ModuleNotFoundError: No module named 'include.hepler'", "did you mean 'include.helper'?"),
        ("ModuleNotFoundError: No module named 'helper'", "write include.helper"),
        ("ImportError: cannot import name 'X' from 'airflow.models' (/a)", "moved or removed X"),
        ("SyntaxError: invalid syntax", "open bracket"),
        ("SerializationError: Timetable class 'x.Y' is not registered or", "airflow.plugins"),
        ("SerializationError: Failed: Unknown priority strategy x.Y", "airflow.plugins"),
        ("TypeError: DAG.__init__() got an unexpected keyword argument 'schedule_interval'", "write schedule="),
        ("KeyError: 'HOME'", "`env:` in fleet.yaml"),
    ],
)
def test_an_import_error_comes_with_advice(raised: str, hint: str) -> None:
    failure = tracebacks.read(raised, files=(), own="dags/x.py")
    assert hint in import_hints.give(failure, SourceFile("dags/x.py", ""), ["dags/x.py", "include/helper.py"])


def test_a_process_that_died_is_told_as_it_is() -> None:
    facts = make_facts("", error="dags/sales.py: killed after 30 s")
    assert catch(facts, "import-error")[0].what == "killed after 30 s"


def test_what_the_parser_writes_is_read() -> None:
    written = {"path": "dags/x.py", "dags": {"a": {"hash": "h", "data": {"dag": {}}}}, "error": None, "seconds": 0.5}
    told = {"warnings": ["w"], "unstable": ["a"], "accesses": [{"kind": "network", "what": "h:1", "line": None}]}
    found = ParsedFile.from_json({**written, **told})
    assert (found.dags[0].id, found.unstable, found.accesses) == ("a", ("a",), (Access("network", "h:1", 0),))


def test_without_frames_the_import_is_the_line() -> None:
    facts = make_facts("\n\nimport os, foo.bar\n", error="ModuleNotFoundError: No module named 'foo'")
    assert catch(facts, "import-error")[0].line == 3
