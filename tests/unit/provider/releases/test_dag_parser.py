"""How a Dag file is loaded twice, and which of its Dags then count as unstable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from airfleet_provider.compat.calls import dag_files
from airfleet_provider.compat.patches import parsing
from airfleet_provider.compat.patches.patch import undo
from airfleet_provider.releases import dag_parser

PATH = "dags/a.py"
# `turn` is 0 when the file is executed first, and 1 when it is executed again.
HEAD = """
import sys
from airflow.sdk import DAG
from airflow.providers.standard.operators.bash import BashOperator

turn = sys.__dict__.setdefault("turns_of_this_test", 0)
sys.turns_of_this_test += 1
"""
DAG = """
with DAG("{name}", schedule=None, {options}) as dag:
    BashOperator(task_id="t", bash_command={command})
"""


@pytest.fixture(autouse=True)
def turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # As in a child of the parser. Else a file that is written again in the same second may be executed as it was.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    vars(sys).pop("turns_of_this_test", None)


def write(project: Path, *dags: str, more: str = "") -> None:
    (project / "dags").mkdir(exist_ok=True)
    (project / PATH).write_text("\n".join((HEAD, *dags, more)))


def dag(name: str, command: str = "'true'", options: str = "") -> str:
    return DAG.format(name=name, command=command, options=options)


def load_twice(project: Path) -> list[str]:
    result, made = dag_parser.parse_file(project, "shop", PATH, lambda: None)
    assert result["error"] is None
    assert {name: one["hash"] for name, one in result["dags"].items()} == {name: one.hash for name, one in made.items()}
    return dag_parser.list_unstable(project, "shop", PATH, made, lambda: None)


def test_a_dag_that_differs_is_unstable_and_the_others_of_its_file_are_not(tmp_path: Path) -> None:
    write(tmp_path, dag("same"), dag("other", "f'echo {turn}'"))
    assert load_twice(tmp_path) == ["other"]


def test_a_dag_that_is_gone_or_that_came_later(tmp_path: Path) -> None:
    write(
        tmp_path, "if turn == 0:\n    a = DAG('gone', schedule=None)\nif turn == 1:\n    b = DAG('late', schedule=None)"
    )
    assert load_twice(tmp_path) == ["gone"]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("if turn == 1:\n    1 / 0", id="its code fails"),
        pytest.param("if turn == 1:\n    DAG('b', schedule=None) >> 5", id="another Dag of it fails"),
        pytest.param("if turn == 1:\n    sys.exit()", id="it leaves"),
    ],
)
def test_all_dags_of_a_file_that_does_not_load_again_are_unstable(more: str, tmp_path: Path) -> None:
    write(tmp_path, dag("a"), more=more)
    assert load_twice(tmp_path) == ["a"]


def test_another_order_that_makes_no_version_is_not_unstable(tmp_path: Path) -> None:
    orders = "{'retries': 1, 'owner': 'ann'} if turn == 0 else {'owner': 'ann', 'retries': 1}"
    write(tmp_path, dag("a", options=f"default_args={orders}"))
    assert load_twice(tmp_path) == []


def test_what_differs_is_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, dag("a", "f'echo {turn}'"))
    _, made = dag_parser.parse_file(tmp_path, "shop", PATH, lambda: None)
    seen: list[object] = []
    monkeypatch.setattr(DagSerialization, "validate_schema", classmethod(lambda _, data: seen.append(data)))
    assert dag_parser.list_unstable(tmp_path, "shop", PATH, made, lambda: None) == ["a"]
    assert len(seen) == 1


def test_a_file_that_changes_a_setting_gets_what_it_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "AIRFLOW__CORE__MAX_TEMPLATED_FIELD_LENGTH"
    monkeypatch.setenv(name, "4096")
    kept = parsing.keep_settings()
    try:
        found = []
        for length in (4096, 200, 300):
            write(tmp_path, dag("a", "'x' * 1000"), more=f"import os\nos.environ['{name}'] = '{length}'")
            result, _ = dag_parser.parse_file(tmp_path, "shop", PATH, kept.forget)
            task = result["dags"]["a"]["data"]["dag"]["tasks"][0]["__var"]
            found.append(len(task["bash_command"]))
    finally:
        undo(parsing.SETTINGS)
    assert found[0] == 1000
    assert found[1] < found[2] < 400


def test_a_setting_is_read_once_until_code_of_a_dag_file_may_have_changed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "AIRFLOW__CORE__MAX_TEMPLATED_FIELD_LENGTH"
    kept = parsing.keep_settings()
    try:
        found = []
        for length in (30, 50):
            monkeypatch.setenv(name, str(length))
            found.append(kept.getint("core", "max_templated_field_length"))
        kept.forget()
        found.append(kept.getint("core", "max_templated_field_length"))
    finally:
        undo(parsing.SETTINGS)
    assert found == [30, 30, 50]
    assert kept.get("core", "max_templated_field_length") == "50", "all else is Airflow's"


def test_serialisation_is_airflows(tmp_path: Path) -> None:
    write(tmp_path, dag("a"))
    dags, _, _ = dag_files.load_dags(tmp_path / PATH, tmp_path, "shop")
    made = dag_files.serialise(dags[0])
    assert dag_files.is_same(dags[0], made)
    assert not dag_files.is_same(dags[0], made._replace(text="{}", hash="other"))
    assert dag_files.is_same(dags[0], made._replace(text="{}")), "the hash decides, and not the text"
