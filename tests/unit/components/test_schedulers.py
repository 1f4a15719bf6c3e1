"""The number of schedulers, and their mode."""

from __future__ import annotations

import pytest

from airfleet.components import scheduler
from airfleet.components.health import CandidateCheck, HeartbeatCheck
from airfleet.components.model import Process
from airfleet.spec import load


def describe(text: str) -> tuple[Process, ...]:
    fleet = load.parse(text, file="fleet.yaml", default_name="x", cpus=2)
    return scheduler.describe(fleet, drain_s=7).processes


def test_a_single_scheduler_is_airflows_own() -> None:
    (one,) = describe("")
    assert one.commands == (("airflow", "scheduler", "--skip-serve-logs"),)
    assert one.health == HeartbeatCheck("SchedulerJob", alone=True)


def test_of_two_one_works_and_one_stands_by() -> None:
    processes = describe("schedulers: 2")
    assert [one.name for one in processes] == ["scheduler", "scheduler-2"]
    for one in processes:
        assert one.commands == (("airflow", "airfleet", "scheduler", "--seat", one.name),)
        assert one.health == CandidateCheck(one.name)
        assert one.stop_timeout_s == 7


def test_two_that_both_work_do_not_take_each_other_for_dead() -> None:
    processes = describe("{schedulers: 2, scheduler_mode: active-active}")
    assert [one.commands[0][1] for one in processes] == ["scheduler", "scheduler"]
    assert {one.health for one in processes} == {HeartbeatCheck("SchedulerJob", alone=False)}


@pytest.mark.parametrize("text", ["schedulers: 0", "schedulers: 3", "scheduler_mode: standby"])
def test_what_is_not_offered_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="schedule"):
        describe(text)
