"""A new project is complete, has its folder's name, and overwrites no file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from airfleet.spec import load
from command_line import Done, run


def init(*words: str, cwd: Path) -> Done:
    return run("init", *words, cwd=cwd)


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_project_has_all_that_a_user_needs(tmp_path: Path) -> None:
    done = init("My Shop", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    project = tmp_path / "My Shop"
    made = list_files(project)
    assert made == sorted(Path(line).relative_to("My Shop").as_posix() for line in done.stdout.splitlines())
    assert {
        ".github/workflows/check.yaml",
        ".gitignore",
        "README.md",
        "dags/daily_sales.py",
        "fleet.yaml",
        "include/__init__.py",
        "include/sales.py",
        "pyproject.toml",
        "requirements.txt",
        "tests/test_dags.py",
        "tests/test_sales.py",
    } <= set(made)
    assert load.read(project, cpus=2).name == "my-shop"
    assert (project / "README.md").read_text().startswith("# my-shop\n")


def test_the_workflow_checks_as_a_deploy_does(tmp_path: Path) -> None:
    init(".", cwd=tmp_path)
    workflow = yaml.safe_load((tmp_path / ".github" / "workflows" / "check.yaml").read_text())
    said = "\n".join(step.get("run", "") for step in workflow["jobs"]["check"]["steps"])
    assert "airfleet test" in said
    assert "airfleet release check --no-tests --format github" in said


def test_the_workflow_runs_nothing_that_may_be_another_program_tomorrow(tmp_path: Path) -> None:
    init(".", cwd=tmp_path)
    workflow = yaml.safe_load((tmp_path / ".github" / "workflows" / "check.yaml").read_text())
    steps = workflow["jobs"]["check"]["steps"]
    for action in [step["uses"] for step in steps if "uses" in step]:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)
    said = "\n".join(step.get("run", "") for step in steps)
    assert "git clone" not in said
    for line in said.splitlines():
        if "pip install" in line:
            assert "--require-hashes" in line or "--no-index --no-deps" in line, line


@pytest.mark.skipif(not shutil.which("curl"), reason="the workflow downloads with curl, which is not here")
def test_the_workflow_installs_no_wheel_but_the_one_that_was_named(tmp_path: Path) -> None:
    init(".", cwd=tmp_path)
    workflow = yaml.safe_load((tmp_path / ".github" / "workflows" / "check.yaml").read_text())
    (script,) = (step["run"] for step in workflow["jobs"]["check"]["steps"] if step.get("name") == "Install airfleet")
    wheel = tmp_path / "served" / "airfleet-1-py3-none-any.whl"
    wheel.parent.mkdir()
    with ZipFile(wheel, "w") as archive:
        archive.writestr("airfleet/constraints/control.txt", "")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pip").write_text('#!/bin/sh\necho pip "$@"\n')
    (programs / "python").write_text(
        f'#!/bin/sh\n[ "$2" = venv ] || exec {sys.executable} "$@"\n'
        f"mkdir -p venv/bin && cp {programs}/pip venv/bin/pip && chmod +x venv/bin/pip\n"
    )
    (programs / "python").chmod(0o755)

    def install(name: str, digest: str) -> subprocess.CompletedProcess[str]:
        home = tmp_path / name
        home.mkdir()
        environment = {
            "HOME": str(home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "GITHUB_PATH": str(home / "path"),
            "AIRFLEET_WHEEL": wheel.as_uri(),
            "AIRFLEET_SHA256": digest,
        }
        return subprocess.run(
            ["bash", "-e", "-c", script], env=environment, capture_output=True, text=True, check=False
        )

    done = install("right", hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert done.returncode == 0, done.stderr
    assert "--no-deps airfleet-1-py3-none-any.whl" in done.stdout
    for name, digest in (("wrong", "0" * 64), ("none", "")):
        done = install(name, digest)
        assert done.returncode != 0
        assert "pip" not in done.stdout


def test_nothing_is_overwritten_and_nothing_half_made(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    done = init(".", cwd=tmp_path)
    assert done.returncode == 2
    assert "README.md" in done.stderr
    assert "hint:" in done.stderr
    assert list_files(tmp_path) == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_what_a_kill_left_out_is_made_by_the_next(tmp_path: Path) -> None:
    init(".", cwd=tmp_path)
    whole = list_files(tmp_path)
    (tmp_path / "dags" / "daily_sales.py").unlink()
    done = init(".", cwd=tmp_path)
    assert done.stdout.splitlines() == ["dags/daily_sales.py"]
    assert list_files(tmp_path) == whole


@pytest.mark.parametrize("name", ["fleet.yaml", "dags"])
def test_a_link_or_a_file_in_the_way_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    done = init(".", cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
