"""Archives outside the database: whole or not there, and an unreachable store is no empty one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from airfleet_provider.contract import archive_store


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield f"file://{tmp_path}/mnt" if request.param == "folder" else "memory://releases"
    fsspec.filesystem("memory").store.clear()


def test_what_is_written_is_read_and_removed(place: str) -> None:
    location = archive_store.locate(f"{place}/", "shop", "r1")
    assert location == f"{place}/shop/r1.tar"
    assert not archive_store.holds(location)
    for _ in range(2):
        archive_store.write(location, b"archive")
        assert archive_store.read(location) == b"archive"
        assert archive_store.holds(location)
    with pytest.raises(archive_store.MissingError):
        archive_store.read(archive_store.locate(place, "shop", "r2"))
    for _ in range(2):
        archive_store.remove(location)
        assert not archive_store.holds(location)


def test_a_folder_that_is_not_mounted_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(archive_store.ArchiveStoreError, match="its folder is not there") as caught:
        archive_store.read(f"{tmp_path}/not/mounted/r1.tar")
    assert not isinstance(caught.value, archive_store.MissingError)


def break_off(*_: object, **__: object) -> None:
    raise OSError("disk full")


def test_a_write_that_breaks_off_leaves_nothing_to_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = archive_store.locate(str(tmp_path), "shop", "r1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", break_off)
        with pytest.raises(archive_store.ArchiveStoreError, match="disk full"):
            archive_store.write(location, b"archive")
    assert not archive_store.holds(location)
    assert list((tmp_path / "shop").iterdir()) == []


class FileServer(LocalFileSystem):
    """A driver for which a write is not atomic, and which is no disk of this machine as far as airfleet knows."""

    protocol = "fileserver"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("fileserver://")


def test_a_store_whose_rename_fails_is_left_without_a_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("fileserver", FileServer, clobber=True)
    location = archive_store.locate(f"fileserver://{tmp_path}", "shop", "r1")
    with monkeypatch.context() as patch:
        patch.setattr(FileServer, "mv", break_off)
        with pytest.raises(archive_store.ArchiveStoreError, match="disk full"):
            archive_store.write(location, b"archive")
    assert list((tmp_path / "shop").iterdir()) == []
    archive_store.write(location, b"archive")
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["r1.tar"]
    assert archive_store.read(location) == b"archive"


def test_a_private_file_is_for_its_user_alone(tmp_path: Path) -> None:
    archive_store.write(f"{tmp_path}/runs/a.parquet", b"rows", is_private=True)
    archive_store.write(f"{tmp_path}/releases/r1.tar", b"archive")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {"runs": 0o700, "a.parquet": 0o600, "releases": 0o777 & ~umask, "r1.tar": 0o666 & ~umask}


@pytest.mark.parametrize("location", ["nope://bucket/r1.tar", "s3://bucket/r1.tar"])
def test_a_store_without_a_driver_says_what_is_missing(location: str) -> None:
    with pytest.raises(archive_store.ArchiveStoreError, match=r"Protocol not known|Install s3fs"):
        archive_store.read(location)
