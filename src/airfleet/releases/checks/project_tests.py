"""The project's own tests. Only this module runs pytest."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from airfleet.releases.checks.inputs import FailedTest, ProjectTests

SECONDS = 600.0
NO_TESTS = 5
_FINISHED = (0, 1)


def run(
    project: Path,
    *,
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
    seconds: float = SECONDS,
) -> ProjectTests:
    """Run the tests in the project's `tests` folder, for `seconds` at most, and return their results.

    A project without tests passes. If the tests cannot run, the result says why.
    """
    if not (project / "tests").is_dir():
        return ProjectTests()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        argv = [python, "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junitxml={report}", "tests"]
        try:
            done = subprocess.run(
                argv,
                cwd=project,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return ProjectTests(problem=f"they did not end within {seconds:g} s")
        except OSError as error:
            return ProjectTests(problem=f"{python} cannot be started: {error.strerror}")
        if done.returncode == NO_TESTS:
            return ProjectTests()
        if report.exists():
            read = parse(report.read_text())
            if read.failed or done.returncode in _FINISHED:
                return read
        said = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        return ProjectTests(problem=said[-1])


def parse(report: str) -> ProjectTests:
    """Return the results in a JUnit report of pytest."""
    cases = list(ET.fromstring(report).iter("testcase"))  # noqa: S314  (pytest on this machine wrote it)
    failed = tuple(
        _failed(case, problem)
        for case in cases
        if (problem := case.find("failure")) is not None or (problem := case.find("error")) is not None
    )
    return ProjectTests(ran=len(cases), failed=failed)


def _failed(case: ET.Element, problem: ET.Element) -> FailedTest:
    path = case.get("file") or _module_path(case)
    text = problem.text or ""
    # The line of the failure if it is in the test's own file, else the first line of the test. JUnit counts from 0.
    lines = re.findall(rf"^{re.escape(path)}:(\d+): ", text, re.MULTILINE)
    line = int(lines[-1]) if lines else int(case.get("line") or 0) + 1
    what = (problem.get("message") or "").strip().splitlines()
    return FailedTest(path, line, case.get("name") or path, what[0] if what else "see its output")


def _module_path(case: ET.Element) -> str:
    module = case.get("classname") or case.get("name") or "tests"
    return module.replace(".", "/") + ".py" if module != "tests" else module
