"""What a cut-over reads in both databases: which Dags are tied, and whether two schedules are one."""

from __future__ import annotations

from airfleet.operations.migration.cutover.platform import describe_schedule, find_needs, find_partners


def test_dags_that_wait_for_each_other_are_found() -> None:
    dependencies: dict[str, object] = {
        "sales": [{"source": "load", "target": "sales", "dependency_type": "sensor", "dependency_id": "wait"}],
        "load": [{"source": "load", "target": "dataset", "dependency_type": "dataset", "dependency_id": "s3://x"}],
        "report": [{"source": "dataset", "target": "report", "dependency_type": "dataset", "dependency_id": "s3://x"}],
        "alone": [],
        "odd": None,
    }
    assert find_partners("load", dependencies) == {"sales", "report"}
    assert find_partners("sales", dependencies) == {"load"}
    assert find_partners("alone", dependencies) == set()
    # A run of sales waits for load, and one of load makes one of report.
    needs = {dag: find_needs(dag, dependencies) for dag in dependencies}
    assert needs == {"sales": {"load"}, "load": {"report"}, "report": set(), "alone": set(), "odd": set()}


def test_one_schedule_reads_the_same_in_both_versions() -> None:
    cron = {"__type": "airflow.timetables.interval.CronDataIntervalTimetable"}
    words = {"expression": "@daily", "timezone": "UTC"}
    assert describe_schedule({**cron, "__var": words}) == describe_schedule(
        {**cron, "__var": {"timezone": {"__type": "timezone", "__var": "UTC"}, "expression": "@daily"}}
    )
    other = {"__type": "airflow.timetables.trigger.CronTriggerTimetable", "__var": words}
    assert describe_schedule(other) != describe_schedule({**cron, "__var": words})
    assert describe_schedule(None) == "unknown"


def test_what_airflow_3_renamed_in_schedules_is_no_difference() -> None:
    uris = ("s3://a", "s3://b")
    old: dict[str, object] = {"objects": [{"__type": "dataset", "uri": uri, "extra": None} for uri in uris]}
    new: dict[str, object] = {
        "objects": [{"__type": "asset", "name": uri, "uri": uri, "group": "asset", "extra": {}} for uri in uris]
    }
    both = {"__type": "airflow.timetables.simple.DatasetTriggeredTimetable"}
    all_of = {**both, "__var": {"dataset_condition": {"__type": "dataset_all", **old}}}
    any_of = {**both, "__var": {"dataset_condition": {"__type": "dataset_any", **old}}}
    after = {
        "__type": "airflow.timetables.simple.AssetTriggeredTimetable",
        "__var": {"asset_condition": {"__type": "asset_all", **new}},
    }
    assert describe_schedule(all_of) == describe_schedule(after)
    assert describe_schedule(any_of) != describe_schedule(after)

    cron = {"expression": "0 6 * * *", "timezone": "UTC", "interval": 0.0}
    kind = {"__type": "airflow.timetables.trigger.CronTriggerTimetable"}
    assert describe_schedule({**kind, "__var": cron}) == describe_schedule(
        {**kind, "__var": {**cron, "run_immediately": False}}
    )
    events = {"__type": "airflow.timetables.events.EventsTimetable"}
    assert describe_schedule(
        {**events, "__var": {"event_dates": ["2026-01-01 00:00:00+00:00"], "restrict_to_events": False}}
    ) == describe_schedule(
        {
            **events,
            "__var": {
                "event_dates": ["2026-01-01T00:00:00+00:00"],
                "restrict_to_events": False,
                "description": "1 event",
            },
        }
    )
    # The one inside a schedule of datasets or time keeps its name.
    schedules = {
        describe_schedule(
            {
                "__type": "airflow.timetables.datasets.DatasetOrTimeSchedule",
                "__var": {"timetable": {**one, "__var": cron}, "dataset_condition": {"__type": "dataset_all", **old}},
            }
        )
        for one in (kind, {"__type": "airflow.timetables.interval.CronDataIntervalTimetable"})
    }
    assert len(schedules) == 2
