"""Crons whose runs begin later: what Airflow's serialised Dag says then, and that dates and ids of runs stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pendulum
import pytest
from airflow import plugins_manager
from airflow.sdk import DAG
from airflow.sdk.definitions.timetables.interval import CronDataIntervalTimetable
from airflow.sdk.definitions.timetables.trigger import CronTriggerTimetable
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from airflow.utils.types import DagRunType

from airfleet.operations.migration.cutover.platform import describe_schedule
from airfleet_provider.api_server.plugin import AirfleetPlugin
from airfleet_provider.compat.calls import config
from airfleet_provider.contract.jitter_rules import JitterRule, find_delay, parse, render
from airfleet_provider.routing import policy

BEGIN = pendulum.datetime(2026, 3, 2, 0, 0, tz="UTC")
RULES = (JitterRule("calm", "calm_.*", 0), JitterRule("rest", None, 600))


@pytest.fixture(autouse=True)
def rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(config, "read_rules", lambda *_: render(RULES))
    monkeypatch.setattr(plugins_manager, "_get_plugins", lambda: ([AirfleetPlugin()], {}))
    plugins_manager.get_timetables_plugins.cache_clear()
    yield
    plugins_manager.get_timetables_plugins.cache_clear()


def load(dag_id: str, schedule: Any, *, is_jittered: bool = True) -> Any:  # noqa: ANN401 - a serialised Dag
    """Return the Dag that the scheduler reads from the database."""
    dag = DAG(dag_id, schedule=schedule, start_date=BEGIN, catchup=True)
    if is_jittered:
        policy.dag_policy(dag)
    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def list_runs(dag: Any, count: int = 5) -> list[Any]:  # noqa: ANN401
    found: list[Any] = []
    for _ in range(count):
        last = found[-1].data_interval if found else None
        restriction = TimeRestriction(BEGIN, None, catchup=True)
        found.append(dag.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction))
    return found


@pytest.mark.parametrize(
    "schedule",
    [
        "@hourly",
        "5 4 * * 1-5",
        CronTriggerTimetable("0 6 * * *", timezone="Europe/Berlin"),
        CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    ],
)
def test_runs_begin_later_with_the_dates_and_ids_that_they_have_without_jitter(schedule: Any) -> None:  # noqa: ANN401
    plain, later = load("sales", schedule, is_jittered=False), load("sales", schedule)
    delays = set()
    for before, after in zip(list_runs(plain), list_runs(later), strict=True):
        assert (after.data_interval, after.logical_date) == (before.data_interval, before.logical_date)
        delays.add((after.run_after - before.run_after).total_seconds())
        ids = [
            dag.timetable.generate_run_id(
                run_type=DagRunType.SCHEDULED, run_after=info.run_after, data_interval=info.data_interval
            )
            for dag, info in ((plain, before), (later, after))
        ]
        assert ids[0] == ids[1]
    assert delays == {find_delay(RULES, "sales")}
    assert 0 < delays.pop() < 600
    assert later.timetable.summary == plain.timetable.summary
    now = pendulum.datetime(2026, 3, 5, 12, 34, 56, tz="UTC")
    manual = later.timetable.generate_run_id(run_type=DagRunType.MANUAL, run_after=now, data_interval=None)
    assert "12:34:56" in manual, "a run that a person starts has no jitter"


def test_a_run_that_was_due_by_another_jitter_has_the_id_that_it_has_without() -> None:
    plain, later = load("sales", "@hourly", is_jittered=False), load("sales", "@hourly")
    [info] = list_runs(plain, 1)
    for kind in (DagRunType.SCHEDULED, DagRunType.BACKFILL_JOB):
        words = {"run_type": kind, "run_after": info.run_after, "data_interval": info.data_interval}
        assert later.timetable.generate_run_id(**words) == plain.timetable.generate_run_id(**words)


def test_a_dag_that_moves_from_airflow_2_has_the_same_schedule_there() -> None:
    plain, later = (
        DagSerialization.to_dict(load("sales", "@daily", is_jittered=one))["dag"]["timetable"] for one in (False, True)
    )
    assert plain != later
    assert describe_schedule(later) == describe_schedule(plain)


@pytest.mark.parametrize("schedule", [None, "@once", "@continuous", timedelta(hours=1)])
def test_what_is_no_cron_stays_as_it_is(schedule: Any) -> None:  # noqa: ANN401
    more = {"max_active_runs": 1} if schedule == "@continuous" else {}
    dag = DAG("sales", schedule=schedule, start_date=BEGIN, **more)
    before = dag.timetable
    policy.dag_policy(dag)
    assert dag.timetable is before


def test_a_dag_whose_rule_has_no_time_stays_as_it_is() -> None:
    dag = DAG("calm_sales", schedule="@hourly", start_date=BEGIN)
    before = dag.timetable
    policy.dag_policy(dag)
    assert dag.timetable is before


def test_a_run_begins_before_the_next_one_is_due() -> None:
    delays = [
        (info.run_after - info.data_interval.end).total_seconds()
        for number in range(30)
        for info in list_runs(load(f"often_{number}", "*/2 * * * *"), 1)
    ]
    assert max(delays) <= 60
    assert len(set(delays)) > 10, "each Dag has a moment of its own"


def test_the_delays_of_many_dags_are_spread_evenly_and_never_change() -> None:
    delays = [find_delay(RULES, f"dag_{number}") for number in range(3000)]
    for minute in range(10):
        assert 200 < sum(1 for one in delays if one // 60 == minute) < 400
    assert max(delays) < 600
    assert [find_delay(RULES, one) for one in ("sales", "load", "calm_x")] == [525, 30, 0]
    assert parse(render(RULES)) == RULES
    assert parse("") == ()


def test_a_cron_that_never_comes_is_no_fault_of_the_rules() -> None:
    never = load("never", "0 0 30 2 *")

    assert never.timetable.jitter_s < 600
