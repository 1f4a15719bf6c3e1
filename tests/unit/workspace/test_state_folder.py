"""The state folder: atomic writes, one holder, refusal of a folder of another kind, and private secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from airfleet.errors import AirfleetError
from airfleet.workspace import airflow_version, applied_hosts, primary_record, state_folder
from airfleet.workspace.state_folder import ProcessStatus, Snapshot, StateFolder, write_file

SNAPSHOT = Snapshot(
    fleet="flights",
    project="/srv/flights",
    supervisor=17,
    supervisor_started=1.5,
    phase="healthy",
    url="http://127.0.0.1:8080",
    written=2.5,
    sessions=(18, 19),
    processes=(ProcessStatus("scheduler", "healthy", 18, 1.0, 2, "", ""),),
)
HOLD_AS_BEFORE = """
import fcntl
import sys
with open(sys.argv[1] + "/lock", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD = """
import sys
import threading
from pathlib import Path
from airfleet.workspace.state_folder import StateFolder
with StateFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def refused(folder: StateFolder, **versions: str) -> AirfleetError:
    with pytest.raises(AirfleetError) as caught:
        folder.read_instance(**{"airflow": "3.3.2", "postgres": "18", **versions})
    return caught.value


def write_instance(folder: StateFolder, **changes: object) -> None:
    body = {"layout": state_folder.LAYOUT, "instance": "abc", "airflow": "3.3.2", "postgres": "18", **changes}
    (folder.root / "instance.json").write_text(json.dumps(body))


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    write_file(file, "old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_file(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_earlier_version_reads_the_state_of_a_stopped_platform(folder: StateFolder) -> None:
    (process,) = SNAPSHOT.processes
    for forks in ((20, 21), ()):
        snapshot = replace(SNAPSHOT, processes=(replace(process, forks=forks),))
        folder.write_snapshot(snapshot)
        assert folder.read_snapshot() == snapshot
    assert "forks" not in (folder.root / "state.json").read_text()


def test_what_is_written_is_the_owners_alone(folder: StateFolder) -> None:
    folder.write_snapshot(SNAPSHOT)
    folder.read_credentials(("warehouse",))
    files = [folder.root / "state.json", *folder.secrets.iterdir()]
    assert len(files) > 6
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in files} == dict.fromkeys(
        (file.name for file in files), "0o600"
    )
    assert folder.secrets.stat().st_mode & 0o077 == 0
    assert folder.logs.stat().st_mode & 0o077 == 0


def test_the_folder_keeps_itself_out_of_git_and_can_be_created_again(folder: StateFolder) -> None:
    folder.create()
    assert (folder.root / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("name", ["", "logs"])
def test_a_file_in_place_of_a_folder_is_an_error_with_a_hint(tmp_path: Path, name: str) -> None:
    folder = StateFolder(tmp_path / "state")
    path = folder.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    with pytest.raises(AirfleetError, match="cannot write the state folder") as caught:
        folder.create()
    assert caught.value.where == str(path)
    assert "--state" in caught.value.hint


@pytest.mark.parametrize("program", [HOLD, HOLD_AS_BEFORE])
def test_one_process_of_any_version_holds_the_folder_and_its_death_lets_go(folder: StateFolder, program: str) -> None:
    assert not folder.is_held()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        assert folder.is_held()
        with pytest.raises(AirfleetError, match="a platform is already up here") as caught, folder.lock():
            pytest.fail("held twice")
        assert "airfleet down" in caught.value.hint
        holder.kill()
    assert not folder.is_held()
    with folder.lock():
        assert folder.is_held()


def test_commands_that_begin_together_are_given_the_same_secrets(folder: StateFolder) -> None:
    names = [f"secret{number}" for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(lambda _: [folder.keep_secret(name).reveal() for name in names], range(4)))
    assert given == [[(folder.secrets / name).read_text() for name in names]] * 4


def test_an_earlier_version_does_not_start_a_second_platform(folder: StateFolder) -> None:
    with folder.lock():
        done = subprocess.run(
            [sys.executable, "-c", HOLD_AS_BEFORE, str(folder.root)], check=False, capture_output=True
        )
    assert b"BlockingIOError" in done.stderr


def test_looking_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.create()
    with folder.lock():
        pass
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            folder.is_held()

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(2000):
            with folder.lock():  # raises AirfleetError when somebody else has it
                pass
    finally:
        done.set()
        for looker in lookers:
            looker.join()


def test_a_folder_that_does_not_exist_is_held_by_nobody(tmp_path: Path) -> None:
    assert not StateFolder(tmp_path / "none").is_held()


def test_an_instance_keeps_its_name_and_notes_the_newest_airflow(folder: StateFolder) -> None:
    assert folder.check_instance(airflow="3.3.2", postgres="18") is None
    first = folder.read_instance(airflow="3.3.2", postgres="18")
    second = folder.read_instance(airflow="3.3.10", postgres="18")
    assert second == replace(first, airflow="3.3.10")
    assert folder.peek_instance() == first.instance


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layout": 99}, "made by another airfleet (layout 99, this one has 1)"),
        ({"postgres": "17"}, "holds data of PostgreSQL 17, this one has 18"),
        ({"airflow": "3.3.10"}, "was used by Airflow 3.3.10, newer than the installed 3.3.2"),
        ({"airflow": "newest"}, "names no version of Airflow: 'newest'"),
        ({"surprise": 1}, "is not complete"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_and_left_alone(
    folder: StateFolder, changes: dict[str, object], words: str
) -> None:
    write_instance(folder, **changes)
    before = (folder.root / "instance.json").read_text()
    error = refused(folder)
    assert words in error.what
    assert error.where.endswith("instance.json")
    assert "--state" in error.hint
    assert (folder.root / "instance.json").read_text() == before


def test_an_older_airflow_is_welcome(folder: StateFolder) -> None:
    write_instance(folder, airflow="3.3.1")
    assert folder.read_instance(airflow="3.3.2", postgres="18").airflow == "3.3.2"


GARBAGE = ["", "{", "\0\0\0\0", "[1, 2]", "[]", "null", '"text"', "7", "{}"]


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_in_place_of_the_instance_is_refused_in_words(folder: StateFolder, text: str) -> None:
    (folder.root / "instance.json").write_text(text)
    assert "--state" in refused(folder).hint


@pytest.mark.parametrize("text", [*GARBAGE, '{"phase": "healthy"}', '{"processes": [1], "sessions": []}'])
def test_garbage_in_place_of_the_snapshot_is_refused_in_words(folder: StateFolder, text: str) -> None:
    (folder.root / "state.json").write_text(text)
    with pytest.raises(AirfleetError) as caught:
        folder.read_snapshot()
    assert caught.value.where.endswith("state.json")


def test_a_snapshot_comes_back_as_it_was(folder: StateFolder) -> None:
    assert folder.read_snapshot() is None
    folder.write_snapshot(SNAPSHOT)
    assert folder.read_snapshot() == SNAPSHOT


def test_a_snapshot_holds_no_secret(folder: StateFolder) -> None:
    with pytest.raises(TypeError):
        folder.write_snapshot(replace(SNAPSHOT, phase=cast(Any, folder.read_credentials(()).admin)))


def test_credentials_are_made_once_differ_and_never_print(folder: StateFolder) -> None:
    first = folder.read_credentials(("warehouse",))
    again = folder.read_credentials(("warehouse", "lake"))
    secrets = [first.admin, first.superuser, first.airflow, first.fernet_key, first.jwt_secret, first.secret_key]
    assert (again.admin, again.fernet_key, again.databases["warehouse"]) == (
        first.admin,
        first.fernet_key,
        first.databases["warehouse"],
    )
    values = {secret.reveal() for secret in [*secrets, *again.databases.values()]}
    assert len(values) == 8
    assert not any(value in repr(again) or value in str(again) for value in values)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (primary_record.NAME, primary_record.read),
        (airflow_version.NAME, airflow_version.read),
        (applied_hosts.NAME, lambda folder: applied_hosts.read(folder.root)),
    ],
)
def test_what_a_newer_airfleet_wrote_is_refused_in_words(
    folder: StateFolder, name: str, read: Callable[[StateFolder], object]
) -> None:
    record: dict[str, Any] = {"version": "3.3.2"} if name == airflow_version.NAME else {"primary": "db1", "turn": 1}
    if name == applied_hosts.NAME:
        record = {"name": "h1", "address": "10.0.0.1", "roles": ["worker"], "pools": [], "labels": {}, "ssh": {}}
    for body in (record, {**record, "invented_later": 1}):
        (folder.root / name).write_text(json.dumps([body] if name == applied_hosts.NAME else body))
        if body is record:
            assert read(folder)
            continue
        with pytest.raises(AirfleetError, match="newer airfleet: invented_later") as error:
            read(folder)
        assert error.value.where == str(folder.root / name)


def test_a_file_that_was_written_is_there_after_a_power_cut(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    write_file(folder.root / "name", "content")
    # Its content before its name, and then the name.
    assert synced[-1] == folder.root.resolve()
    assert len(synced) == 2
