"""The verdict on the overview: what is wrong comes first, with a command."""

from __future__ import annotations

from dataclasses import replace

import invented_fleet
from airfleet_provider.console import health
from airfleet_provider.console.health import HealthSignals, Level


def judge(**signals: object) -> list[tuple[Level, str]]:
    quiet = HealthSignals(invented_fleet.make_quiet_activity().overview)
    return [(one.level, one.what) for one in health.judge(replace(quiet, **signals))]  # type: ignore[arg-type]


def test_a_platform_that_works_is_well() -> None:
    assert judge() == []
    assert health.conclude(()) == ("well", "All is well: the scheduler works, and no alert is open.")


def test_a_silent_scheduler_is_broken_and_comes_first() -> None:
    seen = replace(invented_fleet.make_activity().overview, platform=invented_fleet.make_platform(age_s=95))
    problems = health.judge(HealthSignals(seen, late=2))
    assert problems[0].level is Level.BROKEN
    assert "No scheduler is at work" in problems[0].what
    assert [one.what.split()[1] for one in problems[1:3]] == ["triggerer", "dag-processor"]
    assert health.conclude(problems)[0] == "broken"


def test_a_standby_that_went_is_no_problem() -> None:
    platform = invented_fleet.make_platform()
    jobs = tuple(replace(one, age_s=500.0) if one.hostname == "sched2" else one for one in platform.jobs)
    seen = replace(invented_fleet.make_quiet_activity().overview, platform=replace(platform, jobs=jobs))
    assert judge(overview=seen) == []


def test_an_alert_counts_until_somebody_has_it() -> None:
    assert judge(alerts=invented_fleet.make_alerts().alerts) == [
        (Level.BROKEN, "DiskFull: The disk /var of db1 is full in 4 h")
    ]


def test_what_waits_is_told() -> None:
    told = judge(overview=invented_fleet.make_activity().overview)
    assert told == [
        (Level.WARNING, "The oldest of 2 tasks in the queue cpu has waited 1 min."),
        (Level.NOTE, "The slot pool warehouse is full, and 14 tasks wait."),
    ]


def test_many_broken_files_are_counted() -> None:
    (one,) = invented_fleet.make_activity().failures
    told = judge(failures=[one] * 8)
    assert len(told) == 6
    assert told[-1] == (Level.WARNING, "3 more Dag files do not load.")


def test_an_automatic_rollback_is_told_until_the_next_deployment() -> None:
    watched, rollback = invented_fleet.make_releases().deployments
    assert judge(deployments=[watched, rollback]) == []
    assert judge(deployments=[rollback]) == [
        (Level.WARNING, "The last release was rolled back: twice as many tasks failed as before")
    ]


def test_an_open_breaker_is_told_with_what_waits_for_it() -> None:
    ((level, what),) = judge(breakers=invented_fleet.make_breakers().breakers)
    assert level is Level.WARNING
    assert what.startswith("The breaker crm is open, and 12 tasks wait: 2 tasks of stock failed")
