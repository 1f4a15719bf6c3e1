"""Checks that other tools make: ruff finds Airflow 2 code, and pytest runs the project's tests."""

from __future__ import annotations

from collections.abc import Iterator

from airfleet.releases.checks.findings import Caught, Check
from airfleet.releases.checks.inputs import CheckInputs, OutdatedCode

FLEET_FILE = "fleet.yaml"


def find_airflow_2_code(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each use of a name that Airflow 3 removed. A use of a name that Airflow 3 renamed is minor."""
    if facts.migrations is None:
        hint = "install ruff beside airfleet, or set checks: {airflow-2-code: off} in fleet.yaml"
        yield Caught(FLEET_FILE, 1, "ruff is not installed, so nobody searched for Airflow 2 code", hint, is_minor=True)
    for found in facts.migrations or ():
        hint = f"{_advise(found)} [{found.code}]"
        yield Caught(found.path, found.line, found.what.rstrip("."), hint, is_minor=not found.is_broken)


def _advise(found: OutdatedCode) -> str:
    if found.code == "AIR002":
        return "without one it ran daily in Airflow 2 and never runs in Airflow 3: say which one, or schedule=None"
    if found.fix:
        return f"{found.fix.rstrip('.')}; `airfleet release check --fix` does it"
    return "nothing replaces it one for one: see Airflow's guide to upgrading to 3"


def find_failed_tests(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each failed test of the project, or one finding if the tests could not run."""
    if facts.tests is None:
        return
    hint = "run pytest in the project's folder to see all of it"
    if facts.tests.problem:
        yield Caught(FLEET_FILE, 1, f"the project's tests did not run: {facts.tests.problem}", hint)
    for failed in facts.tests.failed:
        yield Caught(failed.path, failed.line, f"the test {failed.name} fails: {failed.what}", hint)


CHECKS = (
    Check(
        "airflow-2-code",
        "No Dag file uses what Airflow 3 removed. A name that Airflow 3 renamed is a warning.",
        'DAG("sales", schedule_interval="@daily")',
        find_airflow_2_code,
    ),
    Check("project-tests", "The project's own tests pass.", "a test in tests/ that fails", find_failed_tests),
)
