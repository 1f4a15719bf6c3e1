"""Jobs as the shell of a host runs them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from airfleet.components.host_model import Job, Stage
from airfleet.runners.fleet.plan import steps
from airfleet.runners.fleet.plan.steps import RunJob
from airfleet.spec.secrets import Secret


def run(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> subprocess.CompletedProcess[str]:
    monkeypatch.setattr(steps, "JOBS", str(folder / "jobs"))
    job = Job("test", "a test", Stage.METADATA, Secret(script), "root", timeout_s=60)
    return subprocess.run(["sh", "-s"], input=steps.script(RunJob(job)), capture_output=True, text=True, check=False)


def test_a_command_that_reads_its_input_does_not_swallow_the_rest_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(f"cat > /dev/null\ntouch {tmp_path}/end", tmp_path, monkeypatch)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "end").exists()


def test_a_job_that_fails_is_not_noted_as_done_and_tells_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("echo the reason >&2\nfalse\necho never", tmp_path, monkeypatch)
    assert done.returncode == 1
    assert done.stderr == "the reason\n"
    assert not (tmp_path / "jobs" / "test").exists()
