"""A release as an artefact: the same on any machine, whole or not there, and never believed unread."""

from __future__ import annotations

import errno
import io
import os
import socket
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airfleet_provider.contract import release_archive


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
    tree, contents = release_archive.read(project)
    assert set(contents) == {
        ".airflowignore",
        "dags/x.py",
        "dags/deep/y.py",
        "include/run.sh",
        "requirements.txt",
    }
    archive = release_archive.pack(tree, contents)
    assert archive == release_archive.pack(*release_archive.read(project))
    folder = tmp_path / "versions" / tree.id
    release_archive.unpack(tree.id, archive, folder)
    release_archive.verify(tree.id, folder)
    assert release_archive.read(folder)[0].id == tree.id
    assert (folder / "include" / "run.sh").stat().st_mode & 0o777 == 0o555
    assert [path.name for path in folder.parent.iterdir()] == [tree.id]


def test_what_did_not_change_is_the_same_file_as_in_the_release_before(project: Path, tmp_path: Path) -> None:
    first, contents = release_archive.read(project)
    old = tmp_path / "versions" / first.id
    release_archive.unpack(first.id, release_archive.pack(first, contents), old)
    (project / "dags" / "x.py").write_text("z")
    (project / "include" / "run.sh").chmod(0o644)
    second, contents = release_archive.read(project)
    new = old.with_name(second.id)
    release_archive.unpack(second.id, release_archive.pack(second, contents), new, like=old)
    release_archive.verify(second.id, new)
    release_archive.verify(first.id, old)
    assert (new / "dags" / "deep" / "y.py").samefile(old / "dags" / "deep" / "y.py")
    assert not (new / "dags" / "x.py").samefile(old / "dags" / "x.py")
    assert not (new / "include" / "run.sh").samefile(old / "include" / "run.sh")


def test_a_file_that_someone_changed_in_a_release_is_not_passed_on(project: Path, tmp_path: Path) -> None:
    tree, contents = release_archive.read(project)
    old = tmp_path / "old"
    release_archive.unpack(tree.id, release_archive.pack(tree, contents), old)
    (old / "dags" / "x.py").chmod(0o644)
    (old / "dags" / "x.py").write_text("changed")
    release_archive.unpack(tree.id, release_archive.pack(tree, contents), tmp_path / "new", like=old)
    release_archive.verify(tree.id, tmp_path / "new")


def test_the_id_follows_names_contents_and_executable_bits(project: Path) -> None:
    ids = [release_archive.read(project)[0].id]
    (project / "dags" / "x.py").write_text("z")
    ids.append(release_archive.read(project)[0].id)
    (project / "dags" / "x.py").rename(project / "dags" / "z.py")
    ids.append(release_archive.read(project)[0].id)
    (project / "dags" / "z.py").chmod(0o755)
    ids.append(release_archive.read(project)[0].id)
    assert len(set(ids)) == len(ids)
    (project / "tests" / "test_x.py").write_text("no part of it")
    assert release_archive.read(project)[0].id == ids[-1]


def test_a_damaged_archive_leaves_nothing_behind(project: Path, tmp_path: Path) -> None:
    tree, contents = release_archive.read(project)
    damaged = release_archive.pack(tree, {**contents, "dags/x.py": b"X"})
    folder = tmp_path / "versions" / tree.id
    with pytest.raises(release_archive.CorruptError, match=tree.id):
        release_archive.unpack(tree.id, damaged, folder)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "dags/../../out.py"])
def test_no_archive_writes_outside_its_folder(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    with pytest.raises(release_archive.CorruptError, match="no plain file"):
        release_archive.unpack("r1", buffer.getvalue(), tmp_path / "versions" / "r1")
    assert not (tmp_path / "out.py").exists()


def test_many_may_unpack_at_once(project: Path, tmp_path: Path) -> None:
    tree, contents = release_archive.read(project)
    archive = release_archive.pack(tree, contents)
    folder = tmp_path / "versions" / tree.id
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: release_archive.unpack(tree.id, archive, folder), range(32)))
    release_archive.verify(tree.id, folder)
    assert [path.name for path in folder.parent.iterdir()] == [tree.id]


def test_a_folder_that_was_changed_is_found_out(project: Path, tmp_path: Path) -> None:
    tree, contents = release_archive.read(project)
    folder = tmp_path / tree.id
    release_archive.unpack(tree.id, release_archive.pack(tree, contents), folder)
    (folder / "dags" / "new.py").write_text("")
    with pytest.raises(release_archive.CorruptError, match=tree.id):
        release_archive.verify(tree.id, folder)


def test_a_copy_is_verified_once_and_half_a_copy_makes_room(project: Path, tmp_path: Path) -> None:
    tree, contents = release_archive.read(project)
    folder = tmp_path / "versions" / tree.id
    for name, body in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    assert not release_archive.settle(tree.id, folder)  # the executable bit is not there yet
    (folder / "include" / "run.sh").chmod(0o755)
    assert not release_archive.is_whole(folder)
    assert release_archive.settle(tree.id, folder)
    assert release_archive.is_whole(folder)
    release_archive.verify(tree.id, folder)

    release_archive.discard(folder)
    assert not release_archive.settle(tree.id, folder)
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "x.py").write_text("half of it")
    assert not release_archive.settle(tree.id, folder)
    release_archive.unpack(tree.id, release_archive.pack(tree, contents), folder)
    release_archive.verify(tree.id, folder)
    assert [path.name for path in folder.parent.iterdir()] == [tree.id]


def test_many_at_once_over_half_a_copy_all_have_the_whole(project: Path, tmp_path: Path) -> None:
    tree, contents = release_archive.read(project)
    archive = release_archive.pack(tree, contents)
    folder = tmp_path / "versions" / tree.id
    (folder / "dags").mkdir(parents=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: release_archive.unpack(tree.id, archive, folder), range(8)))
    assert release_archive.is_whole(folder)
    release_archive.verify(tree.id, folder)
    assert [path.name for path in folder.parent.iterdir()] == [tree.id]


SECRET = "the-signing-key-of-the-fleet"


@pytest.fixture
def outside(project: Path) -> Path:
    """A secret beside the Dags, as the state folder has them."""
    secret = project / ".airfleet" / "secrets" / "jwt_secret"
    secret.parent.mkdir(parents=True)
    secret.write_text(SECRET)
    return secret


@pytest.mark.parametrize("target", ["../.airfleet/secrets/jwt_secret", "/etc/passwd", "../dags/x.py", "nowhere"])
def test_a_link_to_a_file_is_refused_by_its_path(project: Path, outside: Path, target: str) -> None:
    assert outside.exists()
    (project / "include" / "table.txt").symlink_to(target)
    with pytest.raises(release_archive.UnacceptableFilesError, match=r"include/table\.txt is a symbolic link"):
        release_archive.read(project)
    assert SECRET.encode() not in b"".join(release_archive.look(project).contents.values())


@pytest.mark.parametrize("name", ["dags/common", "include/data", "dags/deep/more"])
def test_a_link_to_a_folder_is_refused_by_its_path_and_not_left_out(project: Path, outside: Path, name: str) -> None:
    (project / name).symlink_to(outside.parent)
    with pytest.raises(release_archive.UnacceptableFilesError, match=f"{name} is a symbolic link"):
        release_archive.read(project)


@pytest.mark.parametrize("name", ["dags", "include", "requirements.txt"])
def test_what_a_release_is_made_of_may_not_itself_be_a_link(project: Path, name: str) -> None:
    (project / name).rename(project / "elsewhere")
    (project / name).symlink_to("elsewhere")
    with pytest.raises(release_archive.UnacceptableFilesError, match=f"{name} is a symbolic link"):
        release_archive.read(project)


def test_pipes_sockets_and_devices_are_refused_and_nobody_waits_for_them(project: Path) -> None:
    os.mkfifo(project / "include" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(project / "dags" / "s.py"))
        refused = release_archive.look(project).refused
    assert refused == dict.fromkeys(["include/pipe", "dags/s.py"], "is neither a file nor a folder")


@pytest.mark.parametrize("late", ["link", "pipe"])
def test_what_is_put_in_place_of_a_file_after_the_look_at_it_is_not_read(
    project: Path, outside: Path, late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, genuine = project / "dags" / "x.py", os.open

    def swap(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "x.py":
            target.unlink()
            if late == "link":
                target.symlink_to(outside)
            else:
                os.mkfifo(target)
        return genuine(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swap)
    scan = release_archive.look(project)
    assert scan.refused.keys() == {"dags/x.py"}
    assert SECRET.encode() not in b"".join(scan.contents.values())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_another_name_of_another_users_file_is_refused(project: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_text(SECRET)
    os.chown(foreign, 65534, 65534)
    (project / "include" / "table.txt").hardlink_to(foreign)
    with pytest.raises(release_archive.UnacceptableFilesError, match=r"include/table\.txt is another name"):
        release_archive.read(project)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_not_left_out(project: Path) -> None:
    (project / "dags" / "deep").chmod(0)
    try:
        with pytest.raises(release_archive.UnacceptableFilesError, match="dags/deep cannot be read"):
            release_archive.read(project)
    finally:
        (project / "dags" / "deep").chmod(0o755)


def test_a_release_in_which_somebody_put_a_link_is_not_that_release(project: Path, tmp_path: Path) -> None:
    tree, contents = release_archive.read(project)
    folder = tmp_path / "versions" / tree.id
    release_archive.unpack(tree.id, release_archive.pack(tree, contents), folder)
    kept = tmp_path / "kept.py"
    (folder / "dags" / "x.py").rename(kept)
    (folder / "dags" / "x.py").symlink_to(kept)
    with pytest.raises(release_archive.CorruptError, match="symbolic link"):
        release_archive.verify(tree.id, folder)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dags/x.py", tarfile.SYMTYPE),
        ("dags/x.py", tarfile.LNKTYPE),
        ("dags/x.py", tarfile.FIFOTYPE),
        ("dags/x.py", tarfile.CHRTYPE),
        ("./dags/y.py", tarfile.REGTYPE),
        (".airfleet/moved.py", tarfile.REGTYPE),
        ("dags/a.py", tarfile.REGTYPE),
    ],
)
def test_an_archive_holds_plain_files_each_once(tmp_path: Path, name: str, kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("dags/a.py"), io.BytesIO(b""))
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "dags/a.py"
        archive.addfile(member, io.BytesIO(b""))
    with pytest.raises(release_archive.CorruptError, match="no plain file"):
        release_archive.unpack("r1", buffer.getvalue(), tmp_path / "versions" / "r1")


def test_what_is_no_archive_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(release_archive.CorruptError, match="cannot be read"):
        release_archive.unpack("r1", b"<html>502</html>", tmp_path / "versions" / "r1")


def test_the_whole_digest_is_checked_and_its_beginning_where_a_release_is_older(project: Path, tmp_path: Path) -> None:
    tree, contents = release_archive.read(project)
    archive = release_archive.pack(tree, contents)
    assert len(tree.id) == 65
    release_archive.unpack(tree.id, archive, tmp_path / "whole")
    twin = tree.id[:-1] + ("0" if tree.id[-1] != "0" else "1")  # same first 16 digits, other files
    with pytest.raises(release_archive.CorruptError):
        release_archive.unpack(twin, archive, tmp_path / "twin")
    old = release_archive.shorten(tree.id)
    assert release_archive.is_same(old, tree.id)
    assert release_archive.is_same(tree.id, old)
    assert not release_archive.is_same(tree.id, tree.id[:-1] + ("0" if tree.id[-1] != "0" else "1"))
    release_archive.unpack(old, archive, tmp_path / old)
    release_archive.verify(old, tmp_path / old)
    with pytest.raises(release_archive.CorruptError):
        release_archive.verify(tree.id[:16], tmp_path / old)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_good_copy_on_a_read_only_mount_is_used(
    project: Path, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, contents = release_archive.read(project)
    folder = tmp_path / tree.id
    for name, body in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    (folder / "include" / "run.sh").chmod(0o755)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert release_archive.settle(tree.id, folder)
    assert not release_archive.is_whole(folder)


def test_a_full_disk_is_no_read_only_mount(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tree, contents = release_archive.read(project)
    folder = project / "copy"
    for name, body in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    (folder / "include" / "run.sh").chmod(0o755)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match="No space"):
        release_archive.settle(tree.id, folder)


def test_executable_bits_are_those_of_the_file_also_where_nothing_may_be_executed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = release_archive.read(project)[0].id
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # as on a mount with noexec
    assert release_archive.read(project)[0].id == before
