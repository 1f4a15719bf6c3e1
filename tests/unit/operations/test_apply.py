"""The phases of an apply: which of them a fleet goes through, and what stops them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airfleet.components.host_model import Stage
from airfleet.operations.apply import PHASES, Apply, PackageSource
from airfleet.runners.fleet.apply.applier import ApplyOutcome, StepResult
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import Mask, Step
from airfleet.runners.fleet.survey import outside_health
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from airfleet.workspace import applied_hosts
from airfleet.workspace.state_folder import StateFolder
from places import CREDENTIALS, desired, parse

STEP = Step("web1", Stage.BASE, Mask("x.service"), "mask x.service", "airfleet runs it")


class Session:
    """A session that records its calls. All hosts but `absent` answer; web1 has the steps `steps`."""

    def __init__(self, folder: StateFolder, *, steps: tuple[Step, ...] = (STEP,), absent: str = "") -> None:
        self.folder, self.steps = folder, steps
        rotations = SimpleNamespace(is_due=lambda *_, **__: False)
        self.spec = SimpleNamespace(fleet=parse(), credentials=CREDENTIALS, rotations=rotations)
        self.names = [host.name for host in self.spec.fleet.hosts if host.name != absent]
        self.is_lost = False
        self.is_unchanged = True
        self.did: list[str] = []

    def notify(self, line: str) -> None:
        self.did.append(line)

    def survey_all(self, *_: object, **__: object) -> tuple[RemovedHosts, Survey]:
        self.did.append("survey")
        views = [self._view(name) for name in self.names]
        return RemovedHosts(), Survey(tuple(views), ())

    def _view(self, name: str) -> HostView:
        recipe = airflow_archive.Recipe("", "", "", "", ())
        steps = self.steps if name == "web1" else ()
        return HostView(cast("Any", None), desired(name), HostFacts(), steps, recipe)

    def hold_lease(self, *_: object) -> bool:
        self.did.append("lease")
        return self.is_unchanged

    def applier(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - made up
        done = tuple(StepResult(step, 1.0) for step in self.steps)
        return SimpleNamespace(
            lay_foundation=lambda: self.did.append("foundation"),
            start_services=lambda: self.did.append("services"),
            outcome=lambda: ApplyOutcome((), (), self.steps) if self.is_lost else ApplyOutcome(done, (), ()),
        )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    monkeypatch.setattr(outside_health, "wait", lambda *_, **__: ())
    made = StateFolder(tmp_path)
    made.create()
    return made


def carry_out(session: Session) -> Apply:
    change = Apply(cast("Any", session), (), source=PackageSource(is_offline=False), report=lambda _: None)
    change.run()
    return change


def test_the_phases_are_in_the_order_in_which_hosts_can_bear_them() -> None:
    assert [phase.name for phase in PHASES] == [
        *("survey", "own servers", "claim", "leave", "ship", "foundation", "services", "cleanup", "verify"),
    ]


def test_a_fleet_that_is_as_it_should_be_is_looked_at_and_no_more(folder: StateFolder) -> None:
    session = Session(folder, steps=())
    assert carry_out(session).outcome.done == ()
    assert session.did == ["survey"]
    assert len(applied_hosts.read(folder.root)) == len(session.spec.fleet.hosts)


def test_changes_are_made_under_the_lease_the_foundation_first(folder: StateFolder) -> None:
    session = Session(folder)
    assert [one.step for one in carry_out(session).outcome.done] == [STEP]
    assert session.did == ["survey", "lease", "1 change on 1 of 9 hosts", "foundation", "services"]


def test_without_the_primary_no_host_is_changed(folder: StateFolder) -> None:
    session = Session(folder, absent="data1")
    change = carry_out(session)
    assert session.did == ["survey"]
    assert [error.where for error in change.errors] == ["data1"]
    assert change.outcome.skipped == (STEP,)


def test_what_somebody_else_changed_since_the_survey_is_seen_before_anything_is_done(folder: StateFolder) -> None:
    session = Session(folder)
    session.is_unchanged = False
    carry_out(session)
    again = "another apply changed this fleet in the meantime: surveying it again"
    assert session.did[:4] == ["survey", "lease", again, "survey"]


def test_a_lost_lease_is_an_error_that_says_what_is_left(folder: StateFolder) -> None:
    session = Session(folder)
    session.is_lost = True
    change = carry_out(session)
    assert ["lease of this apply was lost" in error.what for error in change.errors] == [True]
    assert change.outcome.skipped == (STEP,)
