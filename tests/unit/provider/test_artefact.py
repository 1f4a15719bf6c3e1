"""A release as an artefact: the same on any machine, whole or not there, and never believed unread."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airfleet_provider import artefact


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    for name, content in {
        "dags/x.py": "x",
        "dags/deep/y.py": "y",
        "include/run.sh": "echo",
        "requirements.txt": "lib",
        "tests/test_x.py": "left behind",
        "dags/__pycache__/x.pyc": "left behind",
        "dags/.#x.py": "left behind",
    }.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (project / "include" / "run.sh").chmod(0o755)
    return project


def test_a_release_travels_unchanged(project: Path, tmp_path: Path) -> None:
    tree, contents = artefact.read(project)
    assert set(contents) == {
        ".airflowignore",
        "dags/x.py",
        "dags/deep/y.py",
        "include/run.sh",
        "requirements.txt",
    }
    archive = artefact.pack(tree, contents)
    assert archive == artefact.pack(*artefact.read(project))
    folder = tmp_path / "versions" / tree.id
    artefact.unpack(tree.id, archive, folder)
    artefact.verify(tree.id, folder)
    assert artefact.read(folder)[0].id == tree.id
    assert (folder / "include" / "run.sh").stat().st_mode & 0o777 == 0o555
    assert [path.name for path in folder.parent.iterdir()] == [tree.id]


def test_what_did_not_change_is_the_same_file_as_in_the_release_before(project: Path, tmp_path: Path) -> None:
    first, contents = artefact.read(project)
    old = tmp_path / "versions" / first.id
    artefact.unpack(first.id, artefact.pack(first, contents), old)
    (project / "dags" / "x.py").write_text("z")
    (project / "include" / "run.sh").chmod(0o644)
    second, contents = artefact.read(project)
    new = old.with_name(second.id)
    artefact.unpack(second.id, artefact.pack(second, contents), new, like=old)
    artefact.verify(second.id, new)
    artefact.verify(first.id, old)
    assert (new / "dags" / "deep" / "y.py").samefile(old / "dags" / "deep" / "y.py")
    assert not (new / "dags" / "x.py").samefile(old / "dags" / "x.py")
    assert not (new / "include" / "run.sh").samefile(old / "include" / "run.sh")


def test_a_file_that_someone_changed_in_a_release_is_not_passed_on(project: Path, tmp_path: Path) -> None:
    tree, contents = artefact.read(project)
    old = tmp_path / "old"
    artefact.unpack(tree.id, artefact.pack(tree, contents), old)
    (old / "dags" / "x.py").chmod(0o644)
    (old / "dags" / "x.py").write_text("changed")
    artefact.unpack(tree.id, artefact.pack(tree, contents), tmp_path / "new", like=old)
    artefact.verify(tree.id, tmp_path / "new")


def test_the_id_follows_names_contents_and_executable_bits(project: Path) -> None:
    ids = [artefact.read(project)[0].id]
    (project / "dags" / "x.py").write_text("z")
    ids.append(artefact.read(project)[0].id)
    (project / "dags" / "x.py").rename(project / "dags" / "z.py")
    ids.append(artefact.read(project)[0].id)
    (project / "dags" / "z.py").chmod(0o755)
    ids.append(artefact.read(project)[0].id)
    assert len(set(ids)) == len(ids)
    (project / "tests" / "test_x.py").write_text("no part of it")
    assert artefact.read(project)[0].id == ids[-1]


def test_a_damaged_archive_leaves_nothing_behind(project: Path, tmp_path: Path) -> None:
    tree, contents = artefact.read(project)
    damaged = artefact.pack(tree, {**contents, "dags/x.py": b"X"})
    folder = tmp_path / "versions" / tree.id
    with pytest.raises(artefact.CorruptError, match=tree.id):
        artefact.unpack(tree.id, damaged, folder)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "dags/../../out.py"])
def test_no_archive_writes_outside_its_folder(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    with pytest.raises(artefact.CorruptError, match="no plain file"):
        artefact.unpack("r1", buffer.getvalue(), tmp_path / "versions" / "r1")
    assert not (tmp_path / "out.py").exists()


def test_many_may_unpack_at_once(project: Path, tmp_path: Path) -> None:
    tree, contents = artefact.read(project)
    archive = artefact.pack(tree, contents)
    folder = tmp_path / "versions" / tree.id
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: artefact.unpack(tree.id, archive, folder), range(32)))
    artefact.verify(tree.id, folder)
    assert [path.name for path in folder.parent.iterdir()] == [tree.id]


def test_a_folder_that_was_changed_is_found_out(project: Path, tmp_path: Path) -> None:
    tree, contents = artefact.read(project)
    folder = tmp_path / tree.id
    artefact.unpack(tree.id, artefact.pack(tree, contents), folder)
    (folder / "dags" / "new.py").write_text("")
    with pytest.raises(artefact.CorruptError, match=tree.id):
        artefact.verify(tree.id, folder)


def test_a_copy_is_verified_once_and_half_a_copy_makes_room(project: Path, tmp_path: Path) -> None:
    tree, contents = artefact.read(project)
    folder = tmp_path / "versions" / tree.id
    for name, body in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    assert not artefact.settle(tree.id, folder)  # the executable bit is not there yet
    (folder / "include" / "run.sh").chmod(0o755)
    assert not artefact.is_whole(folder)
    assert artefact.settle(tree.id, folder)
    assert artefact.is_whole(folder)
    artefact.verify(tree.id, folder)

    artefact.discard(folder)
    assert not artefact.settle(tree.id, folder)
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "x.py").write_text("half of it")
    assert not artefact.settle(tree.id, folder)
    artefact.unpack(tree.id, artefact.pack(tree, contents), folder)
    artefact.verify(tree.id, folder)
    assert [path.name for path in folder.parent.iterdir()] == [tree.id]


def test_many_at_once_over_half_a_copy_all_have_the_whole(project: Path, tmp_path: Path) -> None:
    tree, contents = artefact.read(project)
    archive = artefact.pack(tree, contents)
    folder = tmp_path / "versions" / tree.id
    (folder / "dags").mkdir(parents=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: artefact.unpack(tree.id, archive, folder), range(8)))
    assert artefact.is_whole(folder)
    artefact.verify(tree.id, folder)
    assert [path.name for path in folder.parent.iterdir()] == [tree.id]
