"""Processes are started again after an interruption, found after a crash, and end with their parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from airfleet.components.model import Command
from airfleet.errors import AirfleetError
from airfleet.runners.local import processes
from airfleet.spec.secrets import Secret
from deadline import wait_until
from shops import start_postgres

SLEEP = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]
LISTENS = "import os, signal, time; signal.signal(15, {}); print('up', flush=True); time.sleep(600)"
POLITE = [sys.executable, "-c", LISTENS.format("lambda *_: (print('bye', flush=True), os._exit(0))")]
STUBBORN = [sys.executable, "-c", LISTENS.format("lambda *_: print('no', flush=True)")]
# Starts one child the way the supervisor does, says which, and waits to be killed.
PARENT = """
import os, sys, time
from pathlib import Path
from airfleet.runners.local import processes
argv = (sys.executable, "-c", "import time; time.sleep(600)")
print(processes.start(argv, env=dict(os.environ), log=Path(sys.argv[1])), flush=True)
time.sleep(600)
"""
# Fills a folder with a command that says which process it is, and never ends.
FILLER = """
import os, sys
from pathlib import Path
from airfleet.components.model import Command
from airfleet.runners.local import processes
from airfleet.spec.secrets import Secret
here = Path(sys.argv[1])
script = f"echo $$ > {here}/pid.new; mv {here}/pid.new {here}/pid; exec sleep 600"
command = Command(argv=("sh", "-c", script, "sh"), creates=here / "data", stdin=Secret(""))
processes.fill(command, env={**os.environ, processes.INSTANCE_VARIABLE: "filler"}, log=here / "log")
"""
# Reaps a child, and the grandchild that the child leaves behind.
SUBREAPER = """
import json, os, sys, time
from pathlib import Path
from airfleet.runners.local import processes
processes.become_subreaper()
orphan = "import os, time; time.sleep(0.2); os._exit(4)"
script = f"import subprocess, sys, os; print(subprocess.Popen([sys.executable, '-c', {orphan!r}]).pid); os._exit(3)"
log = Path(sys.argv[1])
first = processes.start((sys.executable, "-uc", script), env=dict(os.environ), log=log)
ended, deadline = {}, time.monotonic() + 280
while len(ended) < 2 and time.monotonic() < deadline:
    ended.update(processes.reap())
    time.sleep(0.01)
print(json.dumps([first, int(log.read_text()), ended]))
"""


@pytest.fixture
def born() -> Iterator[list[subprocess.Popen[bytes]]]:
    """A list of processes, which are killed after the test."""
    born: list[subprocess.Popen[bytes]] = []
    yield born
    for process in born:
        process.kill()
        process.wait()


def spawn(born: list[subprocess.Popen[bytes]], argv: list[str], **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
    process: subprocess.Popen[bytes] = subprocess.Popen(argv, stdout=subprocess.PIPE, **options)
    born.append(process)
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    return process


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


ENVIRON = dict(os.environ)


def make_command(folder: Path, script: str) -> Command:
    return Command(argv=("sh", "-c", script, "sh"), creates=folder / "data", stdin=Secret("s3cret"))


def test_fill_makes_the_folder_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = make_command(tmp_path, 'cat > "$1/input"; echo made')
    processes.fill(command, env=ENVIRON, log=log)
    processes.fill(command, env=ENVIRON, log=log)
    assert (tmp_path / "data" / "input").read_text() == "s3cret"
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert log.read_text() == "made\n"


def test_fill_starts_anew_what_a_kill_left_half_made(tmp_path: Path) -> None:
    half = tmp_path / "data.new"
    half.mkdir()
    (half / "half").write_text("")
    processes.fill(make_command(tmp_path, 'touch "$1/whole"'), env=ENVIRON, log=tmp_path / "log")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["whole"]
    assert not half.exists()


def test_fill_that_fails_says_why_and_is_done_again_next_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(AirfleetError, match="sh failed: no locale") as caught:
        processes.fill(make_command(tmp_path, "echo no locale >&2; exit 1"), env=ENVIRON, log=log)
    assert caught.value.where == str(log)
    assert "s3cret" not in str(caught.value)
    assert not (tmp_path / "data").exists()
    processes.fill(make_command(tmp_path, "true"), env=ENVIRON, log=log)
    assert (tmp_path / "data").is_dir()


def test_a_command_that_fills_a_folder_goes_with_who_was_killed_and_is_found_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", FILLER, str(tmp_path)]) as filler:
        wait_until((tmp_path / "pid").exists, "the command")
        command = int((tmp_path / "pid").read_text())
        assert [one.pid for one in processes.find_members((), marker="filler") if one.pid == command]
        filler.kill()
    wait_until(lambda: is_gone(command), "the command's end")


def test_members_are_found_by_session_and_by_marker_and_strangers_are_not(
    born: list[subprocess.Popen[bytes]],
) -> None:
    leader = spawn(born, SLEEP, start_new_session=True)
    marked = spawn(born, SLEEP, start_new_session=True, env={**os.environ, processes.INSTANCE_VARIABLE: "mine"})
    other = spawn(born, SLEEP, start_new_session=True, env={**os.environ, processes.INSTANCE_VARIABLE: "theirs"})
    stranger = spawn(born, SLEEP)
    assert {process.pid for process in processes.find_members((leader.pid,), marker="mine")} == {
        leader.pid,
        marked.pid,
    }
    assert processes.find_members(()) == []
    assert os.getpid() not in {process.pid for process in processes.find_members((os.getsid(0),))}
    assert all(process.poll() is None for process in (other, stranger))


def test_members_are_found_when_the_leader_of_their_session_is_dead(tmp_path: Path) -> None:
    script = "sleep 600 & echo $!"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout
        left = int(leader.stdout.readline())
        leader.wait()
        found = processes.find_members((leader.pid,))
        processes.end(found, grace_s=5)
    assert [process.pid for process in found] == [left]
    wait_until(lambda: is_gone(left), "the member's end")


def test_end_kills_who_does_not_listen(born: list[subprocess.Popen[bytes]]) -> None:
    both = [spawn(born, POLITE), spawn(born, STUBBORN)]
    processes.end([psutil.Process(process.pid) for process in both], grace_s=1)
    assert [process.stdout.read() for process in both if process.stdout] == [b"bye\n", b"no\n"]
    assert all(is_gone(process.pid) for process in both)


def test_end_takes_a_process_that_has_already_gone(born: list[subprocess.Popen[bytes]]) -> None:
    gone = spawn(born, SLEEP)
    process = psutil.Process(gone.pid)
    gone.kill()
    gone.wait()
    processes.end([process], grace_s=0.1)


def test_a_child_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert os.getsid(child) == child
        parent.kill()
    wait_until(lambda: is_gone(child), "the child's end")


def test_a_subreaper_sees_the_exit_of_orphans_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUBREAPER, str(tmp_path / "log")], capture_output=True, check=True, text=True
    )
    child, orphan, ended = json.loads(done.stdout)
    assert ended == {str(child): 3, str(orphan): 4}


def test_what_a_killed_server_left_does_not_keep_the_next_one_from_its_data() -> None:
    with _serve_and_kill() as (folder, data, writer):
        assert writer.is_running()
        processes.end_server(folder / "another")
        assert writer.is_running()
        # A process that sees another name of the folder, as one in a container, serves the same data.
        (folder / "link").symlink_to(data)
        processes.end_server(folder / "link")
        assert is_gone(writer.pid)
        with start_postgres(folder) as port, psycopg.connect(f"host=127.0.0.1 port={port} user=postgres"):
            pass


def test_a_server_that_somebody_has_started_by_hand_is_not_killed_and_a_copy_of_its_data_not_made_to_start() -> None:
    with _make_folder() as folder, start_postgres(folder) as port:
        note = folder / "postgres" / "data" / "postmaster.pid"
        copied = folder / "copy" / note.name
        copied.parent.mkdir()
        copied.write_text(note.read_text())
        with psycopg.connect(f"host=127.0.0.1 port={port} user=postgres") as connection:
            processes.end_server(note.parent)
            processes.end_server(copied.parent)
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert note.exists()
        assert copied.exists()


def test_a_program_that_has_the_number_of_a_dead_server_does_not_keep_the_next_one_from_its_data(
    born: list[subprocess.Popen[bytes]],
) -> None:
    with _serve_and_kill() as (folder, data, _):
        user = processes.choose_user(unprivileged=True)
        words = ["sh", "-c", "echo up; exec sleep 600"]
        other = spawn(born, words, **({"user": user.pw_uid} if user else {}))
        note = data / "postmaster.pid"
        _, *rest = note.read_text().splitlines(keepends=True)
        note.write_text("".join([f"{other.pid}\n", *rest]))
        processes.end_server(data)
        assert other.poll() is None
        with start_postgres(folder) as port, psycopg.connect(f"host=127.0.0.1 port={port} user=postgres"):
            pass


@contextmanager
def _make_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="airfleet-") as name:
        Path(name).chmod(0o755)  # for the user of PostgreSQL
        yield Path(name)


@contextmanager
def _serve_and_kill() -> Iterator[tuple[Path, Path, psutil.Process]]:
    """Yield a folder, the data in it of a server that was killed, and a process that it has left."""
    with _make_folder() as folder:
        data = folder / "postgres" / "data"
        with start_postgres(folder):
            server = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
            writer = next(one for one in server.children() if "checkpointer" in " ".join(one.cmdline()))
            writer.suspend()  # as one that waits for the disk
            server.kill()
        yield folder, data, writer


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        processes.start((str(tmp_path / "none"),), env={}, log=tmp_path / "log")
