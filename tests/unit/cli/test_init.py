"""A new project: complete, named after its folder, and never over anything that is there."""

from __future__ import annotations

import re
from pathlib import Path

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
    assert '= "$AIRFLEET_COMMIT" ]' in said, "a name of a branch or a tag is refused"
    assert "pip install uv" not in said


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
