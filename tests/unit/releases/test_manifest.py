"""What a release says of itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from airfleet.errors import AirfleetError
from airfleet.releases import manifest
from airfleet_provider.contract import release_archive


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def make_project(folder: Path) -> Path:
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "one.py").write_text("x = 1\n")
    return folder


def test_files_are_compared_by_content() -> None:
    old = {"dags/a.py": "1", "dags/b.py": "2", "include/c.py": "3"}
    new = {"dags/a.py": "1", "dags/b.py": "9", "dags/d.py": "4"}
    difference = manifest.compare(old, new)
    assert difference == manifest.Difference(added=("dags/d.py",), removed=("include/c.py",), changed=("dags/b.py",))
    assert manifest.compare(old, old).is_empty


def test_a_commit_is_named_and_a_change_since_makes_it_dirty(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    assert manifest.read_commit(project) is None
    git(project, "init", "--initial-branch=main")
    assert manifest.read_commit(project) is None
    git(project, "add", ".")
    git(project, "commit", "--message=first")
    commit = manifest.read_commit(project)
    assert commit is not None
    assert (commit.branch, commit.author, commit.dirty) == ("main", "Ann <ann@example.com>", False)
    (project / "dags" / "one.py").write_text("x = 2\n")
    changed = manifest.read_commit(project)
    assert changed is not None and changed.dirty and changed.id == commit.id


def test_the_id_depends_on_the_files_and_on_nothing_else(tmp_path: Path) -> None:
    first, _ = release_archive.read(make_project(tmp_path / "here"))
    second, _ = release_archive.read(make_project(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere" / "tests").mkdir()
    (tmp_path / "elsewhere" / "dags" / "__pycache__").mkdir()
    (tmp_path / "elsewhere" / "dags" / "__pycache__" / "one.pyc").write_bytes(b"x")
    third, _ = release_archive.read(tmp_path / "elsewhere")
    assert first.id == second.id == third.id

    def describe(actor: str) -> manifest.Manifest:
        return manifest.describe(first, commit=None, actor=actor, message="", airflow="3.3.2", python="3.11")

    assert describe("ann").id == describe("ben").id == first.id
    assert json.loads(json.dumps(describe("ann").to_json()))["files"] == dict(first.digests())


def test_a_link_in_a_project_is_told_with_its_path_and_what_to_do(tmp_path: Path) -> None:
    project = make_project(tmp_path / "here")
    (project / "dags" / "key.txt").symlink_to("../.airfleet/secrets/jwt_secret")
    with pytest.raises(AirfleetError) as caught:
        manifest.read_tree(project)
    assert str(caught.value) == (
        "dags/key.txt: is a symbolic link, which no release may hold\n\n"
        "hint: copy into dags/ or include/ what Dags need from elsewhere, and remove the link"
    )
