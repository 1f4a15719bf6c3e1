"""A Dag under another path than the newest: found by its id, and as if nothing were odd."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet_provider.compat.calls import dag_files
from airfleet_provider.contract import release_archive
from airfleet_provider.task_runtime import fork_safety

DAG = """
from airflow.sdk import DAG, dag, task
from include.words import WORD

{name} = DAG("{name}", schedule=None)

@dag(schedule=None)
def {name}_made():
    @task
    def work():
        return WORD
    work()

{name}_made()
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for name, text in {
        "dags/broken.py": "import airflow, no_such_module  # mentions the dag wanted_made",
        "dags/other.py": DAG.format(name="other"),
        "dags/deep/down/wanted.py": DAG.format(name="wanted"),
        "include/__init__.py": "",
        "include/words.py": "WORD = 'here'",
    }.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text)
    tree, contents = release_archive.read(tmp_path / "project")
    folder = tmp_path / "versions" / tree.id
    release_archive.unpack(tree.id, release_archive.pack(tree, contents), folder)
    return folder


@pytest.mark.parametrize("dag_id", ["wanted", "wanted_made"])
def test_a_dag_is_found_by_its_id_and_knows_its_own_file(
    release: Path, monkeypatch: pytest.MonkeyPatch, dag_id: str
) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
    dags, errors, _ = dag_files.load_dags(release / release_archive.MOVED_FILE, release, "shop")
    assert errors == []
    assert {dag.dag_id for dag in dags} == {"wanted", "wanted_made"}
    assert {dag.fileloc for dag in dags} == {str(release / "dags/deep/down/wanted.py")}
    assert {dag.relative_fileloc for dag in dags} == {"dags/deep/down/wanted.py"}
    plain, _, _ = dag_files.load_dags(release / "dags/deep/down/wanted.py", release, "shop")
    assert [dag_files.serialise(dag) for dag in sorted(dags, key=lambda dag: dag.dag_id)] == [
        dag_files.serialise(dag) for dag in sorted(plain, key=lambda dag: dag.dag_id)
    ]


def test_for_a_callback_all_that_loads_is_there(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", raising=False)
    dags, _, _ = dag_files.load_dags(release / release_archive.MOVED_FILE, release, "shop")
    assert {dag.dag_id for dag in dags} == {"wanted", "wanted_made", "other", "other_made"}


def test_a_dag_that_is_not_there_is_an_error_with_its_cause(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "nobody")
    _, errors, _ = dag_files.load_dags(release / release_archive.MOVED_FILE, release, "shop")
    assert "has no Dag nobody" in errors[0]
    assert "no_such_module" in errors[0]


def test_no_warm_process_shares_it(release: Path) -> None:
    assert fork_safety.find_objection((release / release_archive.MOVED_FILE).read_text()) == (
        "line 5: get_parsing_context() while loading"
    )


def test_it_is_no_part_of_the_release(release: Path) -> None:
    release_archive.verify(release.name, release)
    assert release_archive.MOVED_FILE not in dag_files.list_dag_files(release)


def test_a_release_that_an_earlier_version_unpacked_still_finds_its_dags(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads = release / release_archive.MOVED_FILE
    leads.unlink()
    leads.write_text(
        "from airflow.sdk import get_parsing_context\n\n"
        "from airfleet_provider import moved\n\n"
        "moved.load(__file__, __name__, get_parsing_context().dag_id)\n"
    )
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "wanted")
    dags, errors, _ = dag_files.load_dags(leads, release, "shop")
    assert errors == []
    assert {dag.fileloc for dag in dags} == {str(release / "dags/deep/down/wanted.py")}
