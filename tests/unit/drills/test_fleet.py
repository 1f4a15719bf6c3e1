"""A drill's view of a fleet, and the fleets that the command refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from airfleet.drills.catalogue import CATALOGUE
from airfleet.drills.fleet import FleetPlatform, SchedulerTerm, find_overlaps
from airfleet.drills.load import Load
from airfleet.errors import UsageError
from airfleet.spec.secrets import Secret
from command_line import invoke
from places import NINE, parse, with_setting


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ([SchedulerTerm("s1", 0, 10), SchedulerTerm("s2", 12, None)], 0),
        ([SchedulerTerm("s1", 0, None), SchedulerTerm("s2", 12, None)], 0),
        ([SchedulerTerm("s1", 0, 15), SchedulerTerm("s2", 12, None)], 1),
        ([SchedulerTerm("s1", 0, 30), SchedulerTerm("s2", 12, 20), SchedulerTerm("s1", 25, None)], 2),
        ([SchedulerTerm("s1", -20, -5), SchedulerTerm("s2", -10, None)], 0),
    ],
    ids=["one after the other", "an end that nobody wrote", "both", "through two others", "before the drill"],
)
def test_two_schedulers_at_once_are_found(terms: list[SchedulerTerm], found: int) -> None:
    assert len(find_overlaps(terms, 0, 100)) == found


def test_components_are_found_on_hosts_by_their_roles() -> None:
    together = with_setting(NINE, "name: flights", "name: flights\nscheduler_mode: active-active")
    platform = FleetPlatform(parse(together), Path(), Secret(""), "me", lambda: 0.0)
    assert platform.find_hosts("api-server") == ("web1", "web2", "web3")
    assert platform.find_hosts("worker") == ("cpu1", "memory1", "io1")
    assert platform.find_active_scheduler() == "sched1"


def test_the_load_is_withdrawn_at_the_primary_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = FleetPlatform(parse(NINE), Path(), Secret("former"), "me", lambda: 0.0, follow=lambda: Secret("now"))
    asked: list[str] = []

    def note(self: FleetPlatform, *_: object) -> None:
        asked.append(self.database.reveal())
        raise StopIteration

    monkeypatch.setattr(FleetPlatform, "_store", note)
    with pytest.raises(StopIteration):
        platform.withdraw(Load(datetime(2026, 6, 15, tzinfo=UTC), 60, "/ledger"))
    assert asked == ["now"], "the drill may have been a switch-over"


def test_a_fleet_is_broken_only_when_its_name_is_typed(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(NINE)
    (tmp_path / "dags").mkdir()
    for words in ([], ["--on", "other"]):
        done = invoke("drill", "kill-scheduler", "--project", str(tmp_path), *words)
        assert isinstance(done.exception, UsageError)
        assert "--on flights" in done.exception.hint


def test_an_unknown_drill_is_refused_with_the_known_ones() -> None:
    done = invoke("drill", "kill-schedule")
    assert isinstance(done.exception, UsageError)
    assert "kill-scheduler" in done.exception.hint


def test_without_a_name_every_drill_is_listed() -> None:
    assert all(name in invoke("drill").output for name in CATALOGUE)
