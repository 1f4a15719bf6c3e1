"""Steps that run as root write nothing through links that another user has planted."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet.components.host_model import ETC, LIB, Folder, HostFile
from airfleet.operations import commands
from airfleet.operations.backup.pgbackrest import scripts
from airfleet.operations.backup.pgbackrest.scripts import Order
from airfleet.runners.fleet.plan import steps
from deadline import PATIENCE_S
from places import NINE, parse, parts

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("runuser"), reason="it takes root and runuser to be two users"
)
HOSTS = [host.name for host in parse().hosts]
ATTACKER = pwd.getpwnam("nobody")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder of root's that every user can pass. Every pytest that starts closes the folder above its own."""
    with tempfile.TemporaryDirectory(prefix="airfleet-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of a user with fewer rights, below a folder of root's."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, ATTACKER.pw_uid, ATTACKER.pw_gid)
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of root's that must stay as it is."""
    path = tmp_path / "secret"
    path.write_text("root's own\n")
    path.chmod(0o600)
    return path


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script as `apply` runs a step."""
    text = f"(\nset -e\n{script}\n)\n"
    return subprocess.run(
        ["sh", "-s"], input=text, capture_output=True, text=True, check=False, cwd="/", timeout=PATIENCE_S
    )


def plant(link: Path, target: Path) -> None:
    words = ["runuser", "-u", ATTACKER.pw_name, "--", "ln", "-s", str(target), str(link)]
    subprocess.run(words, check=True, cwd="/")


def is_untouched(path: Path) -> bool:
    status = path.stat()
    return path.read_text() == "root's own\n" and (status.st_uid, status.st_mode & 0o777) == (0, 0o600)


def test_a_file_in_a_folder_of_root_s_is_written_with_its_owner_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "it's"
    for content in ("one\n", "two\n"):
        done = run(steps.script(steps.WriteFile(HostFile(path, content, ATTACKER.pw_name and "root", 0o640, "nobody"))))
        assert done.returncode == 0, done.stderr
        assert path.read_text() == content
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (ATTACKER.pw_uid, 0o640)
    assert [one.name for one in path.parent.iterdir()] == ["it's"]


@pytest.mark.parametrize("name", ["file", "file.airfleet-new"])
def test_no_file_is_written_into_a_folder_of_a_lesser_user_s(theirs: Path, secret: Path, name: str) -> None:
    plant(theirs / name, secret)
    done = run(steps.script(steps.WriteFile(HostFile(theirs / "file", "new\n", "root", 0o644, "nobody"))))
    assert done.returncode != 0
    assert "others than root may change this folder" in done.stderr
    assert is_untouched(secret)


def test_a_folder_further_up_that_is_another_s_is_noticed(theirs: Path, secret: Path) -> None:
    inner = theirs / "inner"
    inner.mkdir()
    done = run(steps.script(steps.WriteFile(HostFile(inner / "file", "new\n"))))
    assert done.returncode != 0
    assert not (inner / "file").exists()


def test_a_draft_that_is_a_link_is_replaced_and_not_followed(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "file.airfleet-new").symlink_to(secret)
    (tmp_path / "file").symlink_to(secret)
    assert run(steps.script(steps.WriteFile(HostFile(tmp_path / "file", "new\n", mode=0o644)))).returncode == 0
    assert is_untouched(secret)
    assert not (tmp_path / "file").is_symlink()


def test_a_folder_is_made_and_gets_its_owner(tmp_path: Path) -> None:
    for _ in range(2):
        done = run(steps.script(steps.MakeFolder(Folder(tmp_path / "a" / "b", "nobody", "root", 0o2750))))
        assert done.returncode == 0, done.stderr
    status = (tmp_path / "a" / "b").stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (ATTACKER.pw_uid, 0o2750)


def test_a_folder_is_not_given_away_through_a_planted_link(theirs: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    plant(theirs / "logs", target)
    done = run(steps.script(steps.MakeFolder(Folder(theirs / "logs", "nobody", "root", 0o777))))
    assert "is a link" in done.stderr
    assert (target.stat().st_uid, target.stat().st_mode & 0o777) == (0, 0o700)


def test_a_link_of_root_s_own_is_the_administrator_s_choice(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    assert run(steps.script(steps.MakeFolder(Folder(tmp_path / "data", mode=0o755)))).returncode == 0
    done = run(steps.script(steps.WriteFile(HostFile(tmp_path / "data" / "file", "new\n"))))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "disk" / "file").read_text() == "new\n"


@pytest.mark.parametrize("host", HOSTS)
def test_every_file_of_every_host_is_in_a_folder_of_root_s(host: str) -> None:
    owned = {folder.path for part in parts(host, NINE) for folder in part.folders if folder.owner != "root"}
    for part in parts(host, NINE):
        for file in (*part.early, *part.files, *(one for service in part.services for one in service.files)):
            assert not owned & set(file.path.parents), f"{file.path} is in a folder of another user's"
            assert file.path.is_relative_to("/etc") or file.path.is_relative_to(ETC)


def sandbox(script: str, tmp_path: Path) -> str:
    """A restore's script on folders of the test's, whose server's user is the one with fewer rights."""
    text = script.replace(str(LIB), str(tmp_path / "lib"))
    return text.replace("runuser -u postgres", f"runuser -u {ATTACKER.pw_name}").replace(
        "-o postgres -g postgres", f"-o {ATTACKER.pw_name} -g {ATTACKER.pw_gid}"
    )


def make_data(tmp_path: Path, name: str) -> Path:
    (tmp_path / "lib").mkdir(exist_ok=True)
    folder = tmp_path / "lib" / name
    folder.mkdir(mode=0o700)
    (folder / "PG_VERSION").write_text("15\n")
    for path in (folder, folder / "PG_VERSION"):
        os.chown(path, ATTACKER.pw_uid, ATTACKER.pw_gid)
    return folder


def test_a_restore_appends_to_no_file_that_the_server_s_user_points_at(
    theirs: Path, tmp_path: Path, secret: Path
) -> None:
    former = make_data(tmp_path, "postgresql.before-1")
    plant(former / "postgresql.auto.conf", secret)
    plant(former / "recovery.signal", secret)
    script = sandbox(scripts.copy_former(Order("n", "postgresql.before-1")), tmp_path)
    done = run(script)
    assert "ermission denied" in done.stderr
    assert is_untouched(secret)


def test_a_restore_of_what_was_kept_copies_it_for_the_server(theirs: Path, tmp_path: Path) -> None:
    make_data(tmp_path, "postgresql.before-1")
    script = sandbox(scripts.copy_former(Order("n", "postgresql.before-1")), tmp_path)
    done = run(script)
    assert done.returncode == 0, done.stderr
    draft = tmp_path / "lib" / "postgresql.restoring"
    assert (draft / "PG_VERSION").read_text() == "15\n"
    assert "restore_command" in (draft / "postgresql.auto.conf").read_text()
    assert {path.stat().st_uid for path in (draft, *draft.iterdir())} == {ATTACKER.pw_uid}
    assert (draft / "recovery.signal").exists()


def test_a_replica_that_is_fenced_moves_no_file_into_a_folder_that_its_user_points_at(
    theirs: Path, tmp_path: Path
) -> None:
    data = make_data(tmp_path, "postgresql")
    (data / "standby.signal").write_text("planted\n")
    target = tmp_path / "profile.d"
    target.mkdir()
    plant(data / "standby.former", target)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "systemctl").symlink_to("/bin/true")
    path = shlex.quote(f"{tmp_path / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin")
    run(f"PATH={path}\n{sandbox(scripts.fence((), is_replica=True), tmp_path)}")
    assert list(target.iterdir()) == []


def test_old_words_of_commands_are_removed_with_the_rights_of_those_who_may_name_them(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may hold a line feed, and the text after it would be another path."""
    user = pwd.getpwnam("daemon")  # its group has its name, as that of a service's user
    unit = tmp_path / "scheduler.service"
    unit.write_text(f"User={user.pw_name}\n")
    monkeypatch.setattr(commands, "UNIT", str(unit))
    monkeypatch.setattr(commands, "WORDS", tmp_path / "words")
    planted = Path(f"{tmp_path}/words/d\n{secret}\nq.json")
    planted.parent.mkdir(parents=True)
    planted.touch()
    os.utime(planted, (0, 0))
    for path in (planted, *planted.parents):
        if path.is_relative_to(tmp_path / "words"):
            os.chown(path, user.pw_uid, user.pw_gid)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "systemctl").write_text("#!/bin/sh\necho not-found\n")
    (tmp_path / "bin" / "systemctl").chmod(0o755)
    search = shlex.quote(f"{tmp_path / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin")
    done = run(f"export PATH={search}\n{commands.build_words(['info'], 'new.service')}")
    assert is_untouched(secret)
    assert done.returncode == 0, done.stderr
    words = tmp_path / "words" / "new.service.json"
    assert words.read_text() == '["info"]\n'
    assert (words.stat().st_uid, words.stat().st_gid) == (user.pw_uid, user.pw_gid)
