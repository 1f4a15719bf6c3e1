"""The command line: help, exit codes, and what goes where."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from airfleet import __version__
from airfleet.cli.main import VERBS
from airfleet.runners.local.usage import read_start_s
from airfleet.workspace.state_folder import Snapshot, StateFolder
from command_line import run, run_process


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    return tmp_path


def test_a_copy_of_the_folder_of_a_platform_that_runs_is_down(project: Path) -> None:
    folder = StateFolder(project / ".airfleet")
    folder.create()
    started = read_start_s(os.getpid()) or 0.0
    folder.write_snapshot(Snapshot("f", "p", os.getpid(), started, "healthy", "", time.time(), (), ()))
    done = run("status", cwd=project)
    assert (done.returncode, done.stderr) == (1, "down: no platform runs here\n")
    with folder.lock():
        assert run("status", cwd=project).returncode == 0


@pytest.mark.parametrize("verb", ["", *VERBS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_verb_has_help_with_an_example(tmp_path: Path, verb: str, flag: str) -> None:
    if verb in ("airflow", "test") and flag == "-h":
        pytest.skip("passes what it does not know on")
    done = run(*filter(None, [verb]), flag, cwd=tmp_path)
    assert done.returncode == 0
    assert "Example:\n" in done.stdout
    assert f"airfleet {verb}".rstrip() in done.stdout.partition("Example:")[2]
    assert done.stderr == ""


def test_the_help_lists_every_verb_with_a_line(tmp_path: Path) -> None:
    listed = run("--help", cwd=tmp_path).stdout.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in listed if len(line.split()) > 2] == list(VERBS)


def test_the_version(tmp_path: Path) -> None:
    assert run_process("--version", cwd=tmp_path).stdout == f"airfleet, version {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "No such command"),
        (["up", "--nonsense"], "No such option"),
        (["up", "--port", "80"], "--port"),
        (["up", "--port", "many"], "--port"),
        (["up", "--drain", "-1"], "--drain"),
        (["up", "no/such/folder"], "no such project folder"),
        (["doctor", "no/such/folder"], "no such project folder"),
        (["test", "--project", "no/such/folder"], "no such project folder"),
        (["airflow", "version"], "no platform has ever run in this project"),
        (["logs"], "there are no logs yet"),
        (["logs", "nobody"], "there are no logs yet"),
        (["logs", "-n", "-1"], "-n"),
    ],
)
def test_wrong_usage_is_told_on_stderr_and_is_2(project: Path, words: list[str], said: str) -> None:
    done = run(*words, cwd=project)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [path.name for path in project.iterdir()] == ["dags"]


def test_a_broken_fleet_yaml_is_2_with_every_line_and_starts_nothing(project: Path) -> None:
    (project / "fleet.yaml").write_text("name: x\nparallelism: none\nprots: {api: 1}\n")
    for detach in ([], ["--detach"]):
        done = run("up", *detach, cwd=project)
        assert done.returncode == 2
        assert "fleet.yaml:2: parallelism" in done.stderr
        assert "fleet.yaml:3: prots" in done.stderr
        assert "hint: did you mean 'ports'?" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (project / ".airfleet" / "instance.json").exists()


def test_a_broken_fleet_yaml_leaves_no_folder_behind(project: Path) -> None:
    (project / "fleet.yaml").write_text("parallelism: none\n")
    assert run("up", cwd=project).returncode == 2
    assert sorted(path.name for path in project.iterdir()) == ["dags", "fleet.yaml"]


def test_where_nothing_runs_status_is_1_and_down_is_0(project: Path) -> None:
    done = run("status", cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "down: no platform runs here\n")
    done = run("status", "--json", cwd=project)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout) == {"phase": "down", "components": [], "import_errors": [], "release": None}
    done = run("down", cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no platform runs here\n")


@pytest.mark.parametrize("verb", ["status", "down"])
def test_garbage_in_the_state_folder_is_1_with_a_hint(project: Path, verb: str) -> None:
    (project / ".airfleet").mkdir()
    (project / ".airfleet" / "state.json").write_text('{"of": "the future"}')
    done = run(verb, cwd=project)
    assert done.returncode == 1
    assert "state.json" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_speaks_json_and_text(project: Path) -> None:
    (project / "requirements.txt").write_text("absent==1\n")
    done = run("doctor", "--json", cwd=project)
    assert done.returncode == 1
    assert {"level": "error", "subject": "requirements.txt"}.items() <= json.loads(done.stdout)[4].items()
    done = run("doctor", cwd=project)
    assert done.returncode == 1
    assert "FAIL  requirements.txt: absent absent, not 1\n      hint: pip install -r" in done.stdout


def test_docs_are_a_fleet_yaml_and_its_schema(project: Path) -> None:
    assert "parallelism" in run("docs", cwd=project).stdout
    assert json.loads(run("docs", "--schema", cwd=project).stdout)["properties"]["parallelism"]
