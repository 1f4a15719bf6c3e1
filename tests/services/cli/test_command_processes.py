"""The command line in a process of its own: exit codes, signals, and pipes that end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airfleet.workspace.project import digest_settings
from airfleet.workspace.state_folder import Snapshot, StateFolder
from command_line import COMMAND, run, run_process
from deadline import PATIENCE_S, wait_until


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    return tmp_path


def test_a_process_ends_with_the_code_and_the_message_of_its_error(project: Path) -> None:
    done = run_process("logs", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("airfleet: ")
    assert "Traceback" not in done.stderr


def start_down(project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, "down", *words], cwd=project, stderr=subprocess.PIPE, text=True)


def test_down_of_a_platform_that_only_begins_to_start_signals_no_stranger(project: Path) -> None:
    """It holds the folder, which still has the former platform's snapshot. Another process has that pid now."""
    folder = StateFolder(project / ".airfleet")
    folder.create()
    with subprocess.Popen(["sleep", "600"]) as stranger:
        folder.write_snapshot(Snapshot("x", "/x", stranger.pid, 1.0, "healthy", "", 1.0, (), ()))
        with folder.lock():
            down = start_down(project)
            with pytest.raises(subprocess.TimeoutExpired):
                down.wait(2)
            assert stranger.poll() is None
        _, said = down.communicate(timeout=PATIENCE_S)
        assert (down.returncode, "Traceback" in said) == (0, False)
        stranger.kill()


def test_down_of_what_ends_by_itself_meanwhile_is_done(project: Path) -> None:
    folder = StateFolder(project / ".airfleet")
    folder.create()
    holder = "import sys, fcntl; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(folder.root / "state.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.kill()
    folder.write_snapshot(Snapshot("x", "/x", other.pid, 1.0, "healthy", "", 1.0, (), ()))
    done = run("down", "--now", cwd=project)
    assert (done.returncode, done.stderr) == (0, f"x is down; its data stays in {folder.root}\n")


def test_a_platform_that_is_up_is_seen_and_stopped_although_fleet_yaml_is_broken_since(project: Path) -> None:
    (project / "fleet.yaml").write_text("prots: {}\n")
    folder = StateFolder(project / ".airfleet")
    folder.create()
    assert run("down", cwd=project).returncode == 2
    holder = (
        "import sys, psutil; from pathlib import Path; from airfleet.workspace.state_folder import *\n"
        "folder = StateFolder(Path(sys.argv[1]))\n"
        "with folder.lock():\n"
        "    me = psutil.Process()\n"
        "    folder.write_snapshot(Snapshot('x', '/x', me.pid, me.create_time(), 'healthy', '', 1.0, (), ()))\n"
        "    print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(folder.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        done = run("status", cwd=project)
        assert done.returncode == 0
        assert "warning: 1 problem in fleet.yaml" in done.stderr
        assert "did you mean 'ports'?" in done.stderr
        # Also if the platform was started with another fleet.yaml, and without a word of this one if with this one.
        folder.note_settings("of another")
        assert "did you mean 'ports'?" in run("status", cwd=project).stderr
        folder.note_settings(digest_settings(project))
        assert run("status", cwd=project).stderr == ""
        done = run("down", "--now", cwd=project)
        assert (done.returncode, "x is down" in done.stderr) == (0, True)


class Follower:
    """`airfleet logs -f` and what it has printed so far."""

    def __init__(self, project: Path, out: Path, *words: str) -> None:
        self.out = out
        with out.open("w") as stdout:
            self.process = subprocess.Popen(
                [*COMMAND, "logs", "-f", *words],
                cwd=project,
                stdout=stdout,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def wait_for(self, *lines: str) -> None:
        wait_until(lambda: self.out.read_text().splitlines() == list(lines), f"{lines} in {self.out}")


@pytest.fixture
def logs(project: Path) -> Path:
    folder = StateFolder(project / ".airfleet")
    folder.create()
    (folder.logs / "api-server.log").write_text("".join(f"line {number}\n" for number in range(60)))
    (folder.logs / "scheduler.log").write_text("ready\n")
    return folder.logs


def test_logs_show_the_last_lines_of_one_or_all(project: Path, logs: Path) -> None:
    assert run("logs", "scheduler", cwd=project).stdout == "ready\n"
    assert run("logs", "api-server", cwd=project).stdout.splitlines() == [f"line {number}" for number in range(10, 60)]
    assert run("logs", "api-server", "-n", "0", cwd=project).stdout == ""
    assert run("logs", "-n", "1", cwd=project).stdout == "api-server | line 59\nscheduler  | ready\n"
    said = run("logs", "sales", cwd=project).stderr
    assert "unknown component 'sales'" in said
    assert "there are: api-server, scheduler\n" in said
    assert "airfleet logs search --dag DAG" in said


def test_logs_follow_through_a_rotation(project: Path, logs: Path, tmp_path: Path) -> None:
    log = logs / "scheduler.log"
    follower = Follower(project, tmp_path / "out", "scheduler")
    try:
        follower.wait_for("ready")
        with log.open("a") as file:
            file.write("second\n")
            file.flush()
            follower.wait_for("ready", "second")
            os.truncate(log, 0)
            file.write("third\n")
            file.flush()
        follower.wait_for("ready", "second", "third")
    finally:
        follower.process.terminate()
        follower.process.wait()


def test_logs_follow_prints_a_line_only_when_it_is_whole(project: Path, logs: Path, tmp_path: Path) -> None:
    follower = Follower(project, tmp_path / "out", "scheduler")
    try:
        follower.wait_for("ready")
        with (logs / "scheduler.log").open("a") as file:
            file.write("half")
            file.flush()
            with (logs / "api-server.log").open("a") as other:
                other.write("meanwhile\n")
            with pytest.raises(subprocess.TimeoutExpired):
                follower.process.wait(1)
            file.write(" and half\n")
        follower.wait_for("ready", "half and half")
    finally:
        follower.process.terminate()
        follower.process.wait()


def test_logs_into_a_closed_pipe_is_no_traceback(project: Path, logs: Path) -> None:
    (logs / "api-server.log").write_text("x" * 100 + "\n" * 1)
    with (logs / "api-server.log").open("a") as file:
        file.writelines("y" * 100 + "\n" for _ in range(20_000))
    done = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m airfleet logs api-server -n 20000 | head -1"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("y")
