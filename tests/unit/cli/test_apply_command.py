"""How `airfleet apply` ends: what it says, and with which exit code."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from airfleet.cli import plan
from airfleet.components.host_model import Stage
from airfleet.operations import session
from airfleet.operations.apply import Apply
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.apply import removed_hosts
from airfleet.runners.fleet.apply.applier import ApplyOutcome, StepResult
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.plan import steps
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.survey import fleet_spec, host_survey
from airfleet.runners.fleet.survey.fleet_spec import FleetSpec
from airfleet.runners.fleet.survey.host_survey import Survey
from airfleet.workspace.rotation import RotationLedger
from airfleet.workspace.state_folder import StateFolder
from command_line import invoke
from places import desired, parse


def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, still_drains: bool, as_json: bool = False, host: str = "old1"
) -> Result:
    """Run an apply that removed a worker of `old1`, which left the fleet, or of a host that stays."""
    fleet = parse()
    folder = StateFolder(tmp_path)
    spec = SimpleNamespace(fleet=fleet, project=tmp_path, rotations=RotationLedger(folder.secrets))
    old = SimpleNamespace(desired=SimpleNamespace(place=SimpleNamespace(host=SimpleNamespace(name="old1"))))
    left: Any = RemovedHosts((old,) if still_drains and host == "old1" else ())  # type: ignore[arg-type]
    unit = "airfleet-worker-io.service"
    step = steps.Step(host, Stage.BASE, steps.RemoveService(unit), f"stop and remove {unit}", "it left")
    outcome = ApplyOutcome((StepResult(step, 1.0, None, drains=still_drains),), (), ())
    view: Any = SimpleNamespace(desired=desired("web1"))

    def change(self: Apply, **_: object) -> None:
        self.survey, self.outcome, self.removed = Survey((view,), ()), outcome, left

    monkeypatch.setattr(fleet_spec, "read_spec", lambda *_, **__: spec)
    monkeypatch.setattr(fleet_spec, "open_folder", lambda *_: folder)
    monkeypatch.setattr(lease, "claim", lambda *_: nullcontext("token"))
    monkeypatch.setattr(session, "find_project", lambda project: project)
    monkeypatch.setattr(session.FleetSession, "fleet", fleet)
    monkeypatch.setattr(Apply, "run", change)
    return invoke("apply", str(tmp_path), *(["--json"] if as_json else []))


def test_a_removed_host_whose_tasks_still_run_has_not_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = run(monkeypatch, tmp_path, still_drains=True)
    assert done.exit_code == 3
    assert "old1 is still draining: apply again" in done.output
    assert "old1 left the fleet" not in done.output
    assert '"draining": [\n    "old1"\n  ]' in run(monkeypatch, tmp_path, still_drains=True, as_json=True).output


def test_a_removed_host_whose_tasks_have_ended_has_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = run(monkeypatch, tmp_path, still_drains=False)
    assert done.exit_code == 0
    assert "old1 left the fleet" in done.output


def test_a_plan_without_changes_tells_of_logins_that_apply_would_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "dags").mkdir()
    folder = StateFolder(tmp_path / ".airfleet")
    folder.create()
    for pool in (*parse().pools, None):
        folder.keep_secret(f"rabbitmq_pool_{pool.name if pool else 'gone'}")
    view: Any = SimpleNamespace(desired=desired("web1"), steps=(), facts=HostFacts())
    place = desired("web1").place
    rotations = RotationLedger(folder.secrets)
    spec = FleetSpec(parse(), tmp_path, place.credentials, place.objects, rotations, "3.3.2")
    monkeypatch.setattr(fleet_spec, "read_spec", lambda *_, **__: spec)
    monkeypatch.setattr(host_survey, "survey", lambda *_: Survey((view,), ()))
    monkeypatch.setattr(removed_hosts, "look", lambda *_: RemovedHosts())

    def check(*more: str) -> Result:
        return invoke("plan", str(tmp_path), "--check", *more)

    before = check()
    assert before.exit_code == plan.CHANGES
    assert "nothing to do on 1 host" in before.output
    assert "of removed pools: gone are still valid" in before.output
    assert '"the broker\'s logins of removed pools: gone"' in check("--json").output
    (folder.secrets / "rabbitmq_pool_gone").unlink()
    after = check()
    assert after.exit_code == 0
    assert "valid" not in after.output


def test_a_host_that_loses_a_pool_whose_tasks_still_run_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = run(monkeypatch, tmp_path, still_drains=True, host="cpu1")
    assert done.exit_code == 3
    assert "cpu1 is still draining: apply again" in done.output
    assert run(monkeypatch, tmp_path, still_drains=False, host="cpu1").exit_code == 0
