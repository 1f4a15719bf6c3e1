"""Machines made by `airfleet machines`, killed on the way, become a fleet that runs a task; nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_from_nothing import PLAIN, FleetFromNothing
from machines import why_not

pytestmark = pytest.mark.drill

ROLES = ["web", "scheduler", "database", "broker"]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetFromNothing]:
    if reason := why_not():
        pytest.skip(f"no machines can run here: {reason}")
    made = FleetFromNothing(tmp_path / "project")
    made.start()
    made.add("one", PLAIN, roles=ROLES)
    made.add("worker", PLAIN, pools=["default"])
    yield made
    made.remove()


def test_a_killed_apply_goes_on_and_its_machines_run_a_task(fleet: FleetFromNothing) -> None:
    fleet.kill_while_machines_are_made(1)
    fleet.do("machines", "apply", "--yes")
    made = fleet.list_made()
    assert sorted(one["name"] for one in made) == ["one1", "worker1"]
    assert [step["action"] for step in json.loads(fleet.do("machines", "plan", "--json"))] == ["keep", "keep"]
    fleet.take_hosts()
    fleet.do("apply", "--accept-new-hosts")
    fleet.do("release", "deploy", "-m", "first")
    fleet.do("run", "hello", "--follow")
    with pytest.raises(AssertionError, match="worker1 is the host worker1 of this fleet"):
        fleet.do("machines", "destroy", "worker1", "--yes")
    assert fleet.list_made() == made
