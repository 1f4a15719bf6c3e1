"""A session excludes other commands, and gives out what changes hosts only while it holds the lease."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations.session import FleetSession, open_session
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.lease import HeldLease
from airfleet.runners.fleet.survey import fleet_spec
from airfleet.workspace.state_folder import StateFolder
from places import NINE, parse


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[HeldLease]:
    """The leases that are held at present."""
    now: list[HeldLease] = []

    @contextmanager
    def hold(*_: object, lost: threading.Event) -> Iterator[HeldLease]:
        now.append(HeldLease(lost, "token 0"))
        yield now[-1]
        now.pop()

    monkeypatch.setattr(lease, "hold", hold)
    return now


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetSession]:
    (tmp_path / "fleet.yaml").write_text(NINE)
    monkeypatch.setattr(fleet_spec, "read_spec", lambda *_, **__: SimpleNamespace(fleet=parse()))
    with ExitStack() as stack:
        yield FleetSession(tmp_path, StateFolder(tmp_path), stack, token="t", notify=lambda _: None)


def primary(before: str) -> Any:  # noqa: ANN401 - made up
    """The surveyed primary, with the record of the last holder of the lease."""
    return SimpleNamespace(connection=SimpleNamespace(), lease=before)


def test_nothing_can_be_carried_out_before_the_lease_is_held(session: FleetSession, held: list[HeldLease]) -> None:
    with pytest.raises(RuntimeError, match="no lease"):
        session.applier((), report=lambda _: None)
    with pytest.raises(AirfleetError, match="the lease was lost"):
        session.require_lease()
    session.hold_lease(primary("token 0"))
    session.require_lease()
    assert session.applier((), report=lambda _: None).run().done == ()
    assert len(held) == 1


def test_it_tells_whether_somebody_else_held_the_lease_since_the_survey(
    session: FleetSession, held: list[HeldLease]
) -> None:
    assert session.hold_lease(primary("token 0"))
    assert not session.hold_lease(primary("another 0"))
    assert len(held) == 2


def test_a_lease_that_is_lost_is_not_taken_for_held(session: FleetSession, held: list[HeldLease]) -> None:
    session.hold_lease(primary(""))
    assert not session.is_lost
    held[-1].lost.set()
    assert session.is_lost
    with pytest.raises(AirfleetError, match="the lease was lost"):
        session.require_lease()


def test_each_round_reads_anew_what_the_fleet_should_be_and_begins_without_a_lease(
    session: FleetSession, held: list[HeldLease]
) -> None:
    first = session.spec
    assert session.spec is first, "one round has one specification"
    session.hold_lease(primary(""))
    session.begin_round()
    assert held == []
    assert session.spec is not first
    with pytest.raises(RuntimeError):
        session.applier((), report=lambda _: None)


def test_two_sessions_of_one_project_keep_each_other_out(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(NINE)
    with (
        open_session(tmp_path, None, notify=lambda _: None),
        pytest.raises(AirfleetError, match="applies this fleet since"),
        open_session(tmp_path, None, notify=lambda _: None),
    ):
        pass
